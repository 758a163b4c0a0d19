"""The commands that a turn yields to its driver, and the answers that it receives.

The driver performs each command and sends its answer into the generator, or throws the port's error at the point where
the turn waits. Every answer carries the time (`now`, in seconds since the epoch): a turn has no other clock.

They are tuples because some are made in each step, and nothing makes an object faster.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias, TypeVar

from attrs import field, frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json, freeze
from settled.durable.headers import NO_HEADERS
from settled.durable.ports import DeadLetter, Delivery, Stored, Write
from settled.durable.record import PerformAction, Record
from settled.key import Key

T = TypeVar("T")


class Load(NamedTuple):
    """Read the record of `key`, from the store. Answered by `Loaded`."""

    key: Key


class LoadDeadLetters(NamedTuple):
    """Read the dead letters of `key`, oldest first. Answered by `DeadLettersLoaded`."""

    key: Key


class LostWorker(NamedTuple):
    """A worker that was lost while it ran one thing alone.

    Attributes:
        message_id: the message that it ran.
        src: the name of the actor; None for guards, actions and the like.
        losses: how many workers were lost to it that way.
    """

    message_id: str
    src: str | None
    losses: int


class Finish(NamedTuple):
    """Perform `write`, as `Backend.finish` does. Answered by `Done`, or by an error of that method.

    Attributes:
        write: the write.
        record: the record that the store has afterwards, decoded; a driver may cache it.
        version: the version of `record`.
        lost: what a worker ran alone when it was lost, if this write counts that.
        notes: descriptions, for observers, of changes to the instance that no message asked for.
    """

    write: Write
    record: Record | None = None
    notes: tuple[str, ...] = ()
    version: int = 0
    lost: LostWorker | None = None


class PerformActions(NamedTuple):
    """Perform `actions` in order, and stop at the first that fails. Answered by `ActionsPerformed`.

    `snapshot` is the snapshot that was committed at version `fence`.
    """

    key: Key
    actions: tuple[PerformAction, ...]
    snapshot: Snapshot[Any]
    fence: int


class ActorCall(NamedTuple):
    """One attempt at a function actor; `headers` are those of the message that the turn is for."""

    id: str
    src: str
    input: Json
    idempotency_key: str
    attempt: int
    headers: Mapping[str, str] = NO_HEADERS


class RunActors(NamedTuple):
    """Run `calls` concurrently and wait until one ends or the time is `until`. Answered by `ActorEnded`.

    A call that is already running, from an earlier `RunActors` of the same turn, continues. A running call that is no
    longer listed may be cancelled.
    """

    key: Key
    calls: tuple[ActorCall, ...]
    until: float | None
    fence: int


class Isolate(NamedTuple):
    """Run the turn of `key` alone in this process, as what it runs may end its worker. Answered by `Isolated`.

    Begin no other turn, wait until those that run have ended, and answer then, or after half of `seconds`. Of several
    such turns, run that with the fewest `losses` first. Begin other turns again when this one has ended or asks for it
    (`EndIsolation`), and in any case soon after `seconds`.

    Attributes:
        key: the key of the turn.
        message_id: the message that is suspected.
        seconds: for how long the process may begin no other turn, waiting included.
        losses: how many workers were lost while they ran it and nothing else.
    """

    key: Key
    message_id: str
    seconds: float
    losses: int


class EndIsolation(NamedTuple):
    """Let other turns run beside that of `key` again. Answered by `Done`."""

    key: Key


class ReleaseReason(StrEnum):
    """Why messages are returned to the queue before their turn is over."""

    FAILED = "failed"
    """Their turn failed. It is tried again after a backoff."""

    WAITING = "waiting"
    """The open turn waits for a timer, or for the next attempt of an actor."""

    OTHER_WORKER = "other-worker"
    """Another worker has the open turn, and its lease has not ended."""

    OTHER_VERSION = "other-version"
    """A version of the machine has written the record that this host does not know."""

    CONFLICTS = "conflicts"
    """The commits of other workers came first too often."""

    BUSY = "busy"
    """The host has no thread free to run their actions or actors."""

    SUSPECT = "suspect"
    """They may end their worker, and this one could not run them alone in time."""

    STOPPING = "stopping"
    """The host is stopping, or has run out of time."""

    ERROR = "error"
    """The turn ended with an error that is not the message's own, such as a backend that cannot be reached."""


class Release(NamedTuple):
    """Release `deliveries`; their key is delivered again after `delay` seconds. Answered by `Done`.

    `detail` says more than `reason` does, such as the text of an error; it may be empty.
    """

    deliveries: tuple[Delivery, ...]
    delay: float
    reason: ReleaseReason
    detail: str = ""


class Extend(NamedTuple):
    """Renew the lease of `deliveries`, which also verifies that it was not lost. Answered by `Done`.

    The driver throws LeaseLostError if the lease was lost.
    """

    deliveries: tuple[Delivery, ...]


class Loaded(NamedTuple):
    """The answer to `Load`: the stored record, or None."""

    stored: Stored | None
    now: float


class DeadLettersLoaded(NamedTuple):
    """The answer to `LoadDeadLetters`."""

    dead_letters: tuple[DeadLetter, ...]
    now: float


class Done(NamedTuple):
    """The answer to a command that returns nothing."""

    now: float


class Isolated(NamedTuple):
    """The answer to `Isolate`: whether nothing else runs in this process now, and whether the driver must stop."""

    is_alone: bool
    now: float
    stopping: bool = False


class ActionsPerformed(NamedTuple):
    """The answer to `PerformActions`: how many were performed, and the error of the next one if it failed."""

    performed: int
    now: float
    error: str | None = None


@frozen
class ActorResult:
    """The result of an attempt: its output if `ok`, otherwise its error, as JSON."""

    id: str
    ok: bool
    data: Json = field(converter=freeze)


class ActorEnded(NamedTuple):
    """The answer to `RunActors`: the result of one call that has ended, or None if `until` came first.

    If several calls have ended, each is answered to a `RunActors` of its own. `stopping` says that the driver must
    stop now and abandons the calls that are still running.
    """

    result: ActorResult | None
    now: float
    stopping: bool = False


Command: TypeAlias = (
    Load | LoadDeadLetters | Finish | PerformActions | RunActors | Isolate | EndIsolation | Release | Extend
)
Answer: TypeAlias = Loaded | DeadLettersLoaded | Done | Isolated | ActionsPerformed | ActorEnded
Commands: TypeAlias = Generator[Command, Answer, T]


def load(key: Key) -> Commands[Loaded]:
    """Yield `Load` and return its answer, typed."""
    answer = yield Load(key)
    assert isinstance(answer, Loaded)
    return answer


def load_dead_letters(key: Key) -> Commands[DeadLettersLoaded]:
    """Yield `LoadDeadLetters` and return its answer, typed."""
    answer = yield LoadDeadLetters(key)
    assert isinstance(answer, DeadLettersLoaded)
    return answer


def finish(write: Write, record: Record | None = None, notes: tuple[str, ...] = ()) -> Commands[Done]:
    """Yield `Finish` and return its answer, typed."""
    answer = yield Finish(write, record, notes)
    assert isinstance(answer, Done)
    return answer


def extend(deliveries: tuple[Delivery, ...]) -> Commands[Done]:
    """Yield `Extend` and return its answer, typed."""
    answer = yield Extend(deliveries)
    assert isinstance(answer, Done)
    return answer
