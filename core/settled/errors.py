"""The errors that settled raises, one class for each party that can fix it.

A `DefinitionError` is for the author of the config, a `LogicError` for that of a guard or an action, an `EventError`
for the sender of an event, a `RecordError` for the operator of the store. Ports raise the others: an adapter translates
its vendor's errors into them and keeps the original as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from settled.printable import printable


class SettledError(Exception):
    """The base class of all errors that settled raises on purpose. Its text is one printable line."""

    def __str__(self) -> str:
        return printable(super().__str__())


@frozen
class DefinitionProblem:
    """A problem of a definition: its path, such as ``states.form.on.SUBMIT``, what is wrong, and how to fix it."""

    path: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        text = printable(f"{self.path or '(root)'}: {self.problem}")
        return f"{text}\n  {printable(self.remedy)}" if self.remedy else text


class DefinitionError(SettledError):
    """The machine cannot be compiled. `problems` holds every problem that was found."""

    def __init__(self, problems: Sequence[DefinitionProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class LogicError(SettledError):
    """The machine's own code or config failed.

    A guard, action, delay or migration raised, or its result is not JSON; a step does not end; the machine is not
    settled and waits for nothing; or an address is unknown. The original error, if any, is ``__cause__``.
    """


class EventError(SettledError):
    """The event is invalid for this machine; nothing has changed."""


class RecordError(SettledError):
    """Stored data cannot be read: it has a newer format, is of another machine, or is damaged.

    Also: the instance does not exist, or exists already.
    """


class VersionUnknownError(RecordError):
    """Stored data was written by a version of the machine that this one does not know; it must be left unchanged."""


class CodecError(RecordError):
    """Stored text is encoded and cannot be decoded here: it needs another codec or key, or was changed by someone.

    Nothing was changed: the text stays as it is, and its messages wait in the queue.
    """


class ConflictError(SettledError):
    """The version in the store is not the expected one: another commit came first. Nothing was written.

    From `Queue.extend`: a lease was lost.
    """


class LeaseLostError(SettledError):
    """The delivery that authorizes the write no longer has the lease of its key; nothing was written."""


class IdReusedError(SettledError):
    """A message with this id was sent before with another body; this one was not sent. Give it an id of its own."""


class UnavailableError(SettledError):
    """The backend could not be reached; nothing happened. Safe to retry.

    `message_id` is the id of the message that was not sent, if the call was a send.
    """

    message_id: str | None = None


class CredentialsError(UnavailableError):
    """The credentials are expired, or could not be refreshed; nothing happened.

    Whoever hands them out can mend it while this process goes on. Wrong ones are an `AccessDeniedError`.
    """


class OutcomeUnknownError(SettledError):
    """The response was lost; the operation may have happened. Load the record to find out.

    `message_id` is the id of the message that may have been sent, if the call was a send. It is safe to send it again
    with that id: it is processed once.
    """

    message_id: str | None = None


class TooLargeError(SettledError):
    """The data exceeds a size limit of the backend; nothing was written."""


class BackendRefusedError(SettledError):
    """Base class of errors that a retry cannot fix: the backend refuses the request, or cannot be used at all."""


class AccessDeniedError(BackendRefusedError):
    """The credentials are invalid or lack a permission."""


class BackendConfigError(BackendRefusedError):
    """The backend cannot be used as configured: a wrong URL, a missing package or resource, an unsuitable server."""


class BackendReplacedError(BackendRefusedError):
    """The store is not the one that was opened: it was deleted, emptied, replaced or restored since.

    Nothing happened. What was written before is wherever that store is now, if it still exists.
    """


class BackendClosedError(SettledError):
    """The backend object was closed before this call; nothing happened."""


class UnsupportedError(SettledError):
    """The call needs a capability that this backend declares it does not have."""
