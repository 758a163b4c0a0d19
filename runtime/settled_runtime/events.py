"""Host events: the events that a host reports to its observers. The log is one observer among others.

An observer is called in the thread that does the work and must be quick. If it raises, that is logged, and nothing
else changes. Events are reports, not guarantees: a worker that dies after a commit does not report it.

The law of the log: it is read by more people than the store, so a payload (an event, a context, an output, the text of
an error that code of a machine raised) stands only in lines of the level DEBUG, and there as a redactor returns it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from traceback import walk_tb
from typing import TypeAlias, assert_never

from attrs import frozen

from settled import Json, Key, TurnEnd
from settled.data import is_array, is_object, write
from settled.durable import DeadLetter, Delivery
from settled.durable.commands import ActorResult, Finish, LostWorker, ReleaseReason
from settled.durable.ports import POSTPONED
from settled.errors import (
    BackendClosedError,
    BackendRefusedError,
    ConflictError,
    LeaseLostError,
    OutcomeUnknownError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from settled.printable import printable

logger = logging.getLogger("settled")


@frozen
class TurnStarted:
    """A turn of `key` has started, with the messages `ids`; `headers` are those of each that has any, by its id."""

    key: Key
    ids: tuple[str, ...]
    headers: Mapping[str, Mapping[str, str]] = {}

    @classmethod
    def of(cls, key: Key, deliveries: Iterable[Delivery]) -> TurnStarted:
        """Return the event for a turn that takes `deliveries`."""
        ids, headers = list[str](), dict[str, Mapping[str, str]]()
        for delivery in deliveries:
            message = delivery.message
            ids.append(message.id)
            if message.headers:
                headers[message.id] = message.headers
        return cls(key, tuple(ids), headers)


@frozen
class Committed:
    """A turn of `key` has committed `version`."""

    key: Key
    version: int


@frozen
class DeadLettered:
    """A message of `key` became a dead letter; the dead letter has the reason."""

    key: Key
    dead_letter: DeadLetter


@frozen
class Postponed:
    """The message `message_id` of `key` waits outside the queue for the end of a turn that is open for long."""

    key: Key
    message_id: str


@frozen
class ActionPerformed:
    """A custom action was performed, or failed with `error`, as ``NAME: text``. It is retried under the same key."""

    key: Key
    type: str
    idempotency_key: str
    error: str | None = None


@frozen
class ActorStarted:
    """An attempt at the function actor `src` has started; attempts count from 1."""

    key: Key
    src: str
    idempotency_key: str
    attempt: int


@frozen
class ActorFinished:
    """An attempt at a function actor has ended; ``result.ok`` tells whether it succeeded."""

    key: Key
    result: ActorResult


@frozen
class ActorAbandoned:
    """An ``async`` actor did not end when it was cancelled: it is not waited for, nor resumed, and has no result.

    A thread cannot be cancelled: a ``def`` actor that times out runs on without this event.
    """

    key: Key
    src: str
    idempotency_key: str
    attempt: int


@frozen
class Emitted:
    """The machine emitted `event`. After a crash it may be emitted again, with the same `idempotency_key`."""

    key: Key
    event: Json
    idempotency_key: str


@frozen
class Logged:
    """The machine logged `value` with the action ``log``."""

    key: Key
    value: Json
    label: str | None


@frozen
class Released:
    """Messages of `key` were returned to the queue, which delivers them again after `delay` seconds; `reason` says why.

    `detail` says more, such as the text of an error; it may be empty.
    """

    key: Key
    delay: float
    reason: ReleaseReason
    detail: str = ""


@frozen
class SuspectIsolated:
    """The turn of `key` runs alone now: the message `message_id` may have ended the workers that ran it."""

    key: Key
    message_id: str


@frozen
class WorkerLost:
    """A worker was lost while it ran something of `key` alone; `lost` says what, and how many workers it has cost."""

    key: Key
    lost: LostWorker


@frozen
class RecordAdjusted:
    """A commit changed `key` in a way that no message asked for, such as by rearming a timer: `note` says how."""

    key: Key
    note: str


@frozen
class MachineNotServed:
    """A message of `machine` was delivered to this host, which does not serve it and gives back all such messages.

    Reported once for each machine. It happens where services with different machines share a queue that cannot select.
    """

    machine: str


@frozen
class ReceiveFailed:
    """A worker could not receive, because of `error`, and tries again after `delay` seconds."""

    error: Exception
    delay: float


@frozen
class ClockSkewed:
    """This machine's clock is `seconds` ahead of the backend's (behind it if negative).

    settled does not use it, but log timestamps and the machine's own code may.
    """

    seconds: float


@frozen
class TurnEnded:
    """The turn of `key` has ended in this worker; `end` says how."""

    key: Key
    end: TurnEnd


@frozen
class TurnFailed:
    """The turn of `key` raised `error`. The queue delivers its messages again."""

    key: Key
    error: Exception


@frozen
class TurnHangs:
    """The turn of `key` has not gone on for `seconds`: it is `doing` the same thing, in the function and line given.

    Reported once for each such hang, after about a lease; of actors, only those without a timeout. The instance is kept
    from all workers until the code returns or the process ends; other instances are not affected.
    """

    key: Key
    seconds: float
    doing: str


_REASONS_TO_WARN_OF = frozenset(
    {ReleaseReason.FAILED, ReleaseReason.OTHER_VERSION, ReleaseReason.CONFLICTS, ReleaseReason.SUSPECT}
)
"""The releases that a person should know of. The others are part of every day; an ERROR is logged as `TurnFailed`."""

HostEvent: TypeAlias = (
    TurnStarted
    | Committed
    | DeadLettered
    | Postponed
    | ActionPerformed
    | ActorStarted
    | ActorFinished
    | ActorAbandoned
    | Emitted
    | Logged
    | Released
    | SuspectIsolated
    | WorkerLost
    | RecordAdjusted
    | MachineNotServed
    | ReceiveFailed
    | ClockSkewed
    | TurnEnded
    | TurnFailed
    | TurnHangs
)
Observer: TypeAlias = Callable[[HostEvent], object]

Redactor: TypeAlias = Callable[[Json], str]
"""Returns the text to log of a payload: an event, a value that a machine logs, or the text of an error."""

_ALWAYS_DEBUG = (TurnStarted, Committed, Postponed, ActorStarted, Emitted, TurnEnded)
"""The events whose level is DEBUG whatever they say."""

_SECRET = re.compile(r"pass(word|wd|phrase)|secret|token|(api|private).?key|authoriz|^auth$|cookie|credential", re.I)
"""The names of members whose values `redacted` hides."""

MAX_PAYLOAD_CHARACTERS = 500
"""How much of a payload `redacted` shows."""

_OF_BACKEND = (
    UnavailableError,
    OutcomeUnknownError,
    ConflictError,
    LeaseLostError,
    TooLargeError,
    BackendRefusedError,
    BackendClosedError,
    UnsupportedError,
)
"""The errors whose text has no payload: it is about the backend, and what an operator needs to know."""


def log(event: HostEvent) -> None:
    """Write `event` to the logger ``settled``; see `log_with`."""
    _write(event, redacted)


def log_with(redact: Redactor) -> Observer:
    """Return an observer like `log`, whose DEBUG lines have payloads as `redact` returns them.

    Levels: ERROR for dead letters and failed turns, WARNING for what may need attention, INFO for what the machine
    logs, DEBUG for each step. An event with a payload has a second line, at DEBUG, which repeats the first and adds it.
    Each line is one printable line. A log record has the event's class as its attribute ``event`` and, if it is about
    an instance, its key as ``key``.
    """
    return lambda event: _write(event, redact)


def redacted(payload: Json) -> str:
    """Return the beginning of `payload` as text, without the values of members that are named like a secret."""
    text = payload if isinstance(payload, str) else write(_without_secrets(payload))
    return text if len(text) <= MAX_PAYLOAD_CHARACTERS else f"{text[:MAX_PAYLOAD_CHARACTERS]}..."


def _without_secrets(payload: Json) -> Json:
    if is_object(payload):
        return {name: "***" if _SECRET.search(name) else _without_secrets(each) for name, each in payload.items()}
    return [_without_secrets(each) for each in payload] if is_array(payload) else payload


def _write(event: HostEvent, redact: Redactor) -> None:
    is_usual = isinstance(event, _ALWAYS_DEBUG) or (isinstance(event, ActionPerformed) and event.error is None)
    is_verbose = logger.isEnabledFor(logging.DEBUG)
    if is_usual and not is_verbose:
        return  # nearly every event, and not worth a text
    level, text, payload = _line(event)
    key: Key | None = getattr(event, "key", None)
    attributes = {"event": type(event).__name__, **({} if key is None else {"key": printable(str(key))})}
    if payload is None or level > logging.DEBUG:
        logger.log(level, "%s", printable(text), extra=attributes)
    if payload is not None and is_verbose:
        logger.debug("%s", printable(f"{text}: {redact(payload)}"), extra=attributes)


def _line(event: HostEvent) -> tuple[int, str, Json]:
    """Return the level and the text of `event`, and its payload or None.

    Alarms match on these words: use one word for one thing.
    """
    match event:
        case TurnStarted(key, ids):
            return logging.DEBUG, f"{key}: turn started: {', '.join(ids)}", None
        case Committed(key, version):
            return logging.DEBUG, f"{key}: committed version {version}", None
        case DeadLettered(key, dead_letter):
            text = f"{key}: {dead_letter.message.id} dead-lettered"
            reason, detail = dead_letter.reason, dead_letter.detail
            # Without a detail the reason says what is wrong with the event, and may quote it.
            return (logging.ERROR, f"{text}, {reason}", detail) if detail else (logging.ERROR, text, reason)
        case Postponed(key, id):
            return logging.DEBUG, f"{key}: {id} postponed", None
        case ActionPerformed(key, action, idempotency_key, error) if error is not None:
            text = f"{key}: action {action} failed ({idempotency_key}): {error.partition(':')[0]}"
            return logging.WARNING, text, error
        case ActionPerformed(key, action, idempotency_key):
            return logging.DEBUG, f"{key}: action {action} performed ({idempotency_key})", None
        case ActorStarted(key, src, idempotency_key, attempt):
            return logging.DEBUG, f"{key}: actor {src} started, attempt {attempt} ({idempotency_key})", None
        case ActorFinished(key, result) if result.ok:
            return logging.DEBUG, f"{key}: actor {result.id} done", None
        case ActorFinished(key, result):
            error_name = result.data.get("name") if is_object(result.data) else None
            return logging.WARNING, f"{key}: actor {result.id} failed: {error_name}", result.data
        case ActorAbandoned(key, src, idempotency_key, attempt):
            text = f"actor {src} abandoned, attempt {attempt}: it ignores its cancellation ({idempotency_key})"
            return logging.WARNING, f"{key}: {text}", None
        case Emitted(key, emitted, _):
            return logging.DEBUG, f"{key}: emitted", emitted
        case Logged(key, value, label):
            return logging.INFO, f"{key}: logged{f' {label}' if label else ''}", value
        case Released(key, delay, reason, detail):
            level = logging.WARNING if reason in _REASONS_TO_WARN_OF else logging.DEBUG
            return level, f"{key}: released for {delay:.3g} s: {reason}", detail or None
        case SuspectIsolated(key, id):
            return logging.WARNING, f"{key}: {id} runs alone: it may have ended the workers that ran it before", None
        case WorkerLost(key, LostWorker(id, src, count)):
            what = f"the actor {src}" if src else "the machine's own functions"
            return logging.ERROR, f"{key}: a worker was lost while {what} ran alone for {id}, {count} by now", None
        case RecordAdjusted(key, note):
            return logging.WARNING, f"{key}: {note}", None
        case MachineNotServed(machine):
            remedy = "serve it here too, or give each service a queue or a subscription of its own"
            return logging.WARNING, f"{machine}: its messages come to this host, which delays them: {remedy}", None
        case ReceiveFailed(error, delay):
            return (
                logging.ERROR,
                f"cannot receive, next attempt in {delay:.3g} s: {type(error).__name__}: {error}",
                None,
            )
        case ClockSkewed(seconds):
            return logging.WARNING, f"this machine's clock is {seconds:+.1f} s off the backend's", None
        case TurnEnded(key, end):
            return logging.DEBUG, f"{key}: turn ended: {end}", None
        case TurnFailed(key, raised) if isinstance(raised, _OF_BACKEND):
            return logging.ERROR, f"{key}: turn failed: {type(raised).__name__}: {raised}", None
        case TurnFailed(key, raised):
            return logging.ERROR, f"{key}: turn failed: {origin_of(raised)}", str(raised)
        case TurnHangs(key, seconds, doing):
            return logging.ERROR, f"{key}: hangs for {seconds:.3g} s in {doing}", None
        case _:
            assert_never(event)


def origin_of(error: BaseException) -> str:
    """Return the class of `error`, and of its first cause the class and where it was raised; but no text of either."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    name = type(error).__name__ if cause is error else f"{type(error).__name__}, from {type(cause).__name__}"
    frames = [(frame.f_code, line) for frame, line in walk_tb(cause.__traceback__)]
    return f"{name} in {frames[-1][0].co_qualname} ({frames[-1][0].co_filename}:{frames[-1][1]})" if frames else name


def observe_commit(observe: Observer, commit: Finish) -> None:
    """Tell `observe` what `commit` has changed."""
    write = commit.write
    if write.stored is not None:
        observe(Committed(write.key, write.stored.version))
    if commit.lost is not None:
        observe(WorkerLost(write.key, commit.lost))
    for note in commit.notes:
        observe(RecordAdjusted(write.key, note))
    for dead_letter in write.add_dead_letters:
        if dead_letter.reason == POSTPONED:
            observe(Postponed(write.key, dead_letter.message.id))
        elif write.stored is None or dead_letter.at >= write.stored.index.updated:
            observe(DeadLettered(write.key, dead_letter))  # an older one has only moved in the list


@frozen
class Observers:
    """Calls several observers in order. One that raises is logged and does not keep the others from being called."""

    all: tuple[Observer, ...]

    def __call__(self, event: HostEvent) -> None:
        for observer in self.all:
            try:
                observer(event)
            except Exception as error:
                logger.error("an observer failed on %s: %s", type(event).__name__, printable(origin_of(error)))
