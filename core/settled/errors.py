"""Errors, split by who is to blame.

The machine's author reads a `DefinitionError`, whoever wrote a guard or an action a `LogicError`, the sender of an
event an `EventError`, whoever keeps the store a `RecordError`. The rest are what a store, a queue or a clock may
answer; an adapter translates its vendor's errors into them and keeps the original as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen


class SettledError(Exception):
    """The root of every error that settled raises on purpose."""


@frozen
class DefinitionProblem:
    """One thing wrong with a definition: where (a path such as ``states.form.on.SUBMIT``), what, and the remedy."""

    path: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.path or '(root)'}: {self.problem}"
        return f"{text}\n  {self.remedy}" if self.remedy else text


class DefinitionError(SettledError):
    """The machine cannot be compiled. `faults` holds every fault that was found, in document order."""

    def __init__(self, faults: Sequence[DefinitionProblem]) -> None:
        self.problems = tuple(faults)
        super().__init__("\n".join(map(str, self.problems)))


class LogicError(SettledError):
    """A guard, action or delay raised, or made something that is not JSON. The original, if any, is ``__cause__``."""


class EventError(SettledError):
    """The event is not one that this machine can be sent; nothing has changed."""


class RecordError(SettledError):
    """Stored data cannot be read: of a newer format, of another machine, or damaged."""


class VersionUnknownError(RecordError):
    """A version of the machine has written this that the one at hand does not know; it must be left as it is."""


class ConflictError(SettledError):
    """Another commit came first; nothing was written."""


class LeaseLostError(SettledError):
    """The hand-out in whose name this was to be written does not hold its key any more; nothing was written."""


class IdReusedError(SettledError):
    """A message with this id was sent before, with another body; this one was not sent. Give it an id of its own."""


class UnavailableError(SettledError):
    """The backend could not be reached; nothing happened. Safe to retry.

    `message_id`: the id of the message that could not be sent, if it was one.
    """

    message_id: str | None = None


class OutcomeUnknownError(SettledError):
    """The answer was lost; it may have happened. Load and look.

    `message_id`: the id of the message that was perhaps sent, if it was one. Sent again under it, it is taken once.
    """

    message_id: str | None = None


class TooLargeError(SettledError):
    """The backend cannot hold something of this size; nothing was written."""


class BackendRefusedError(SettledError):
    """The backend refused a request and would refuse it again: retrying will not help. One of the two below."""


class AccessDeniedError(BackendRefusedError):
    """The backend refused these credentials, or they lack a permission."""


class BackendConfigError(BackendRefusedError):
    """The backend cannot be used as configured: a wrong URL, a missing package or resource, an unsuitable server."""


class BackendClosedError(SettledError):
    """The backend was closed before this call; nothing happened."""


class UnsupportedError(SettledError):
    """A capability that this backend declares it does not have."""
