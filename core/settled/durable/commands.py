"""Commands: what a turn asks of whoever drives it, and what it is told in return.

A driver performs each command and sends its answer, or raises the port's error where the turn waits. Every answer
carries the time (`now`, seconds since the epoch): a turn has no other clock.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json
from settled.durable.ports import DeadLetter, Delivery, Stored, Write
from settled.durable.record import PerformAction, Record
from settled.key import Key

T = TypeVar("T")


@frozen
class Load:
    """Read the stored record of `key`. Answered by `Loaded`, or by `Remembered` unless it must be `fresh`."""

    key: Key
    fresh: bool = True


@frozen
class LoadDeadLetters:
    """Read the dead letters of `key`, oldest first. Answered by `Lying`."""

    key: Key


@frozen
class Finish:
    """Do all of `write`. Answered by `Done`; may raise `Conflict` or `Unknown`.

    `record` is what it stores, decoded: a driver may remember it. `notes` are what it does to the instance that nobody
    has asked for, in words, for whoever watches.
    """

    write: Write
    record: Record | None = None
    notes: tuple[str, ...] = ()


@frozen
class PerformActions:
    """Perform `actions` in order and stop at the first that fails. Answered by `Acted`.

    `snapshot` is the instance as it was committed under `fence`.
    """

    key: Key
    actions: tuple[PerformAction, ...]
    snapshot: Snapshot[Any]
    fence: int


@frozen
class ActorCall:
    """One attempt at a function actor."""

    id: str
    src: str
    input: Json
    idempotency_key: str
    attempt: int


@frozen
class RunActors:
    """Let `invocations` run, each in its own right, and wait until one ends, or until `until`.

    Those that run already, from an earlier `Run` of the same turn, go on; those no longer named may be interrupted.
    Answered by `Ran`.
    """

    key: Key
    calls: tuple[ActorCall, ...]
    until: float | None
    fence: int


@frozen
class Release:
    """Give `deliveries` back; the key is handed out again after `delay` seconds. Answered by `Done`.

    `warning` says what is wrong, if a person should know.
    """

    deliveries: tuple[Delivery, ...]
    delay: float
    warning: str = ""


@frozen
class Extend:
    """Let the lease of `deliveries` begin anew, and so make sure that it was not lost. Answered by `Done`.

    May raise `LeaseLost`.
    """

    deliveries: tuple[Delivery, ...]


@frozen
class Loaded:
    """What `Load` found."""

    stored: Stored | None
    now: float


@frozen
class CachedRecord:
    """What the driver has seen stored last: `record` at `version`. Somebody else may have gone on since.

    A commit finds that out by itself. What is decided without one must be looked at afresh.
    """

    record: Record
    version: int
    now: float


@frozen
class DeadLettersLoaded:
    """What `Letters` found."""

    dead_letters: tuple[DeadLetter, ...]
    now: float


@frozen
class Done:
    """It is done."""

    now: float


@frozen
class ActionsPerformed:
    """The first `count` actions were performed; `error` says how the next one failed, if one did."""

    count: int
    now: float
    error: str | None = None


@frozen
class ActorResult:
    """How an attempt ended: its output, or, unless `ok`, its error as JSON."""

    id: str
    ok: bool
    data: Json


@frozen
class ActorEnded:
    """The first attempt that has ended; None if it is `until` before. The others that end are told of one by one.

    `interrupted`: the driver must stop now; what still runs is abandoned.
    """

    result: ActorResult | None
    now: float
    interrupted: bool = False


Command: TypeAlias = Load | LoadDeadLetters | Finish | PerformActions | RunActors | Release | Extend
Answer: TypeAlias = Loaded | CachedRecord | DeadLettersLoaded | Done | ActionsPerformed | ActorEnded
Commands: TypeAlias = Generator[Command, Answer, T]


def load(key: Key) -> Commands[Loaded]:
    """`Load` afresh, with its answer typed."""
    answer = yield Load(key)
    assert isinstance(answer, Loaded)
    return answer


def load_cached(key: Key) -> Commands[Loaded | CachedRecord]:
    """`Load`, or what is remembered, with its answer typed."""
    answer = yield Load(key, fresh=False)
    assert isinstance(answer, Loaded | CachedRecord)
    return answer


def load_dead_letters(key: Key) -> Commands[DeadLettersLoaded]:
    """`Letters`, with its answer typed."""
    answer = yield LoadDeadLetters(key)
    assert isinstance(answer, DeadLettersLoaded)
    return answer


def finish(write: Write, record: Record | None = None, notes: tuple[str, ...] = ()) -> Commands[Done]:
    """`Finish`, with its answer typed."""
    answer = yield Finish(write, record, notes)
    assert isinstance(answer, Done)
    return answer


def perform_actions(
    key: Key, actions: tuple[PerformAction, ...], snapshot: Snapshot[Any], fence: int
) -> Commands[ActionsPerformed]:
    """`Act`, with its answer typed."""
    answer = yield PerformActions(key, actions, snapshot, fence)
    assert isinstance(answer, ActionsPerformed)
    return answer


def run_actors(key: Key, calls: tuple[ActorCall, ...], until: float | None, fence: int) -> Commands[ActorEnded]:
    """`Run`, with its answer typed."""
    answer = yield RunActors(key, calls, until, fence)
    assert isinstance(answer, ActorEnded)
    return answer


def release(deliveries: tuple[Delivery, ...], delay: float, warning: str = "") -> Commands[Done]:
    """`Release`, with its answer typed."""
    answer = yield Release(deliveries, delay, warning)
    assert isinstance(answer, Done)
    return answer


def extend(deliveries: tuple[Delivery, ...]) -> Commands[Done]:
    """`Extend`, with its answer typed."""
    answer = yield Extend(deliveries)
    assert isinstance(answer, Done)
    return answer
