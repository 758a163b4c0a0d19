"""Host events: the events that a host reports to its observers. The log is one observer among others.

An observer is called in the thread that does the work and must be quick. If it raises, the error is logged, and nothing
else changes. Events are reports, not guarantees: a worker that dies after a commit does not report it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, assert_never

from attrs import frozen

from settled import Json, Key, TurnEnd
from settled.durable import DeadLetter, Delivery
from settled.durable.commands import ActorResult, Finish, LostWorker, ReleaseReason

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
class ActionPerformed:
    """A custom action was performed, or failed with `error`. A failed one is retried under the same key."""

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
    | ClockSkewed
    | TurnEnded
    | TurnFailed
    | TurnHangs
)
Observer: TypeAlias = Callable[[HostEvent], object]

_ALWAYS_DEBUG = (TurnStarted, Committed, ActorStarted, Emitted, TurnEnded)
"""The events whose level is DEBUG whatever they say."""


def log(event: HostEvent) -> None:
    """Write `event` to the logger ``settled``; the log record has it as its attribute ``event``.

    Levels: ERROR for dead letters and failed turns, WARNING for what may need attention, INFO for what the machine
    logs, DEBUG for each step.
    """
    is_usual = isinstance(event, _ALWAYS_DEBUG) or (isinstance(event, ActionPerformed) and event.error is None)
    if is_usual and not logger.isEnabledFor(logging.DEBUG):
        return  # nearly every event, and not worth a text
    level, text = _line(event)
    logger.log(level, "%s", text, extra={"event": event})


def _line(event: HostEvent) -> tuple[int, str]:
    """Return the level and the text of `event`. Alarms match on these words: use one word for one thing."""
    match event:
        case TurnStarted(key, ids):
            return logging.DEBUG, f"{key}: turn started: {', '.join(ids)}"
        case Committed(key, version):
            return logging.DEBUG, f"{key}: committed version {version}"
        case DeadLettered(key, dead_letter):
            detail = f": {dead_letter.detail}" if dead_letter.detail else ""
            return logging.ERROR, f"{key}: {dead_letter.message.id} dead-lettered, {dead_letter.reason}{detail}"
        case ActionPerformed(key, action, idempotency_key, None):
            return logging.DEBUG, f"{key}: action {action} performed ({idempotency_key})"
        case ActionPerformed(key, action, idempotency_key, error):
            return logging.WARNING, f"{key}: action {action} failed ({idempotency_key}): {error}"
        case ActorStarted(key, src, idempotency_key, attempt):
            return logging.DEBUG, f"{key}: actor {src} started, attempt {attempt} ({idempotency_key})"
        case ActorFinished(key, result):
            level = logging.DEBUG if result.ok else logging.WARNING
            return level, f"{key}: actor {result.id} {'done' if result.ok else f'failed: {result.data}'}"
        case ActorAbandoned(key, src, idempotency_key, attempt):
            text = f"actor {src} abandoned, attempt {attempt}: it ignores its cancellation ({idempotency_key})"
            return logging.WARNING, f"{key}: {text}"
        case Emitted(key, emitted, _):
            return logging.DEBUG, f"{key}: emitted {emitted}"
        case Logged(key, value, label):
            return logging.INFO, f"{key}: {f'{label}: ' if label else ''}{value}"
        case Released(key, delay, reason, detail):
            level = logging.WARNING if reason in _REASONS_TO_WARN_OF else logging.DEBUG
            return level, f"{key}: released for {delay:.3g} s: {reason}{f', {detail}' if detail else ''}"
        case SuspectIsolated(key, id):
            return logging.WARNING, f"{key}: {id} runs alone: it may have ended the workers that ran it before"
        case WorkerLost(key, LostWorker(id, src, count)):
            what = f"the actor {src}" if src else "the machine's own functions"
            return logging.ERROR, f"{key}: a worker was lost while {what} ran alone for {id}, {count} by now"
        case RecordAdjusted(key, note):
            return logging.WARNING, f"{key}: {note}"
        case MachineNotServed(machine):
            remedy = "serve it here too, or give each service a queue or a subscription of its own"
            return logging.WARNING, f"{machine}: its messages come to this host, which delays them: {remedy}"
        case ClockSkewed(seconds):
            return logging.WARNING, f"this machine's clock is {seconds:+.1f} s off the backend's"
        case TurnEnded(key, end):
            return logging.DEBUG, f"{key}: turn ended: {end}"
        case TurnFailed(key, raised):
            return logging.ERROR, f"{key}: turn failed: {type(raised).__name__}: {raised}"
        case TurnHangs(key, seconds, doing):
            return logging.ERROR, f"{key}: hangs for {seconds:.3g} s in {doing}"
        case _:
            assert_never(event)


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
        observe(DeadLettered(write.key, dead_letter))


@frozen
class Observers:
    """Calls several observers in order. One that raises is logged and does not keep the others from being called."""

    all: tuple[Observer, ...]

    def __call__(self, event: HostEvent) -> None:
        for observer in self.all:
            try:
                observer(event)
            except Exception:
                logger.exception("an observer failed on %s", type(event).__name__)
