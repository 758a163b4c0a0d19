"""The audit: compares what the clients have sent with what the instances have become, and with what was performed.

It is a pure function of what the storm has left behind (`Remains`), so that it can be tested with doctored remains.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from attrs import frozen

from bench.storm.hostile import ACCEPTED, BEYOND_LIMITS, CRASHED
from bench.storm.journals import DEPLOYED, ENDED_BY_ACTOR, FROZEN, KILLED, Attempted, Performed, Received, Sent, Struck
from bench.storm.settings import Event


@frozen
class Instance:
    """The state of one instance after a storm.

    Attributes:
        taken: the numbers of the events that it took, in order.
        failures: the number of each event whose actor failed, with the name of the error.
        status: as `Client.list` has it.
        dead_letters: the reasons of its dead letters, but for those of messages that the hostile client made up.
    """

    taken: tuple[int, ...]
    failures: tuple[tuple[int, str], ...] = ()
    status: str = "active"
    dead_letters: tuple[str, ...] = ()


@frozen(kw_only=True)
class Remains:
    """The states, letters and effects that are left after a storm.

    Attributes:
        plan: the events that were to be sent.
        instances: what they have become, by their names; one that does not exist is missing.
        waiting: how many messages still wait in the queue.
        ends: how many workers ended in which way.
        hangs: the lines of the workers' logs that report a hang.
        began: when the storm began, by the clock of the journals.
        starts: how long each worker took to start, in seconds.
        longest_lease: for how long a worker that was struck may keep an instance from others, in seconds.
    """

    plan: Sequence[Event]
    instances: Mapping[str, Instance]
    sent: Sequence[Sent]
    performed: Sequence[Performed]
    received: Sequence[Received]
    attempted: Sequence[Attempted]
    struck: Sequence[Struck]
    waiting: int
    ends: Mapping[str, int]
    hangs: Sequence[str]
    began: float
    starts: Sequence[float]
    longest_lease: float

    @property
    def limit(self) -> float:
        """The longest time, in seconds, in which nobody may receive the messages of a healthy instance.

        It is a lease, and the time in which the next worker notices that the lease has ended. On a busy machine that
        is as long as whatever else takes a moment there: as the slowest start of a worker.
        """
        return self.longest_lease + max(self.starts, default=0.0)


@frozen
class Violation:
    """Something that must not happen: `what` it is, in a few words, and where."""

    what: str
    where: str


@frozen
class Wait:
    """The wait of an event of a healthy instance, from its send until its effect; all in seconds.

    Attributes:
        total: how long that took.
        longest: the longest part of it in which no worker received messages of the instance.
        judged: the same, but a part counts from the moment at which a worker was struck in it, if that was before the
            limit: the worker may have received the messages, and not come to write that down.
        receives: how often workers did in that time.
        locked: whether a frozen worker held the lock of the file for a part of it.
        deploy: whether workers of both versions ran for a part of it.
    """

    instance: str
    n: int
    total: float
    longest: float
    judged: float
    receives: int
    locked: bool
    deploy: bool


def violations(remains: Remains) -> Iterator[Violation]:
    """Yield whatever `remains` show that must not have happened."""
    yield from _events(remains)
    yield from _instances(remains)
    yield from _effects(remains)
    yield from _endings(remains)
    for attempt in remains.attempted:
        if attempt.end.startswith(CRASHED) or (attempt.attack in BEYOND_LIMITS and attempt.end == ACCEPTED):
            yield Violation("not refused", f"{attempt.attack}: {attempt.end}")
    for wait in waits(remains):
        if wait.judged > remains.limit and not wait.locked:
            where = f"{wait.instance}, event {wait.n}: {wait.judged:.1f} s without a receive, of {wait.total:.1f} s"
            yield Violation("waited too long", where)


def _events(remains: Remains) -> Iterator[Violation]:
    """Compare the numbers that each instance took with those that were sent."""
    for name, events in _by_instance(remains.plan).items():
        taken = remains.instances[name].taken if name in remains.instances else ()
        numbers, counts = [event.n for event in events], Counter(taken)
        for n in numbers:
            if counts[n] != 1:
                yield Violation("lost" if counts[n] == 0 else "taken twice", f"{name}, event {n}")
        for n in counts.keys() - set(numbers):
            yield Violation("invented", f"{name}, event {n}")
        if list(taken) != sorted(taken):
            yield Violation("out of order", f"{name}: {list(taken)}")
    sent = {(entry.instance, entry.n) for entry in remains.sent}
    for event in remains.plan:
        if (event.instance, event.n) not in sent:
            yield Violation("not sent", f"{event.instance}, event {event.n}")
    if remains.waiting:
        yield Violation("still waiting", f"{remains.waiting} messages")


def _instances(remains: Remains) -> Iterator[Violation]:
    for name, instance in remains.instances.items():
        if instance.status != "active":
            yield Violation("halted" if instance.status == "halted" else "ended", f"{name}: {instance.status}")
        for reason in instance.dead_letters:
            yield Violation("dead letter", f"{name}: {reason}")


def _effects(remains: Remains) -> Iterator[Violation]:
    """Check that each event had its effect, under one key, which no other event had."""
    keys, events = defaultdict[tuple[str, int], set[str]](set), defaultdict[str, set[tuple[str, int]]](set)
    for entry in remains.performed:
        keys[entry.instance, entry.n].add(entry.key)
        events[entry.key].add((entry.instance, entry.n))
    planned = {(event.instance, event.n) for event in remains.plan}
    for event in sorted(planned - keys.keys()):
        yield Violation("effect missing", f"{event[0]}, event {event[1]}")
    for event, several in keys.items():
        # A step that is computed again has another key: a second one is that of a step that was never committed.
        if event not in planned or len(several) > 1:
            yield Violation("effect without a commit", f"{event[0]}, event {event[1]}: {', '.join(sorted(several))}")
    for key, named in events.items():
        if len(named) > 1:
            yield Violation("key used twice", f"{key}: {sorted(named)}")


ERRORS = {"KILL": {"WorkerLost"}, "HANG": {"TimeoutError", "WorkerLost"}}
"""The errors with which the actor of an event may fail, by the type of the event.

A worker that is killed while an actor hangs in it is lost by that actor, as far as anyone can tell.
"""


def _endings(remains: Remains) -> Iterator[Violation]:
    """Check that functions that end or stop their worker ended as documented, and no other function failed."""
    for name, events in _by_instance(remains.plan).items():
        failures = remains.instances[name].failures if name in remains.instances else ()
        expected = {event.n: ERRORS[event.type] for event in events if event.type in ERRORS}
        if [n for n, _ in failures] != list(expected) or any(error not in expected[n] for n, error in failures):
            yield Violation("another failure", f"{name}: {list(failures)}, not {expected}")
        if any(event.type == "ASK" for event in events) and not any(
            f"/{name}: hangs" in line and "guard_that_hangs" in line for line in remains.hangs
        ):
            yield Violation("hang not reported", name)
    for end, count in remains.ends.items():
        if end.startswith("ended with"):
            yield Violation("worker failed", f"{count} {end}")


STRIKES = (KILLED, FROZEN, ENDED_BY_ACTOR)
"""The strikes that may hit a worker between a receive and the note of it."""


def waits(remains: Remains) -> Iterator[Wait]:
    """Yield the wait of each event for a healthy instance that had its effect."""
    performed = dict[tuple[str, int], float]()
    for entry in remains.performed:
        performed.setdefault((entry.instance, entry.n), entry.at)
    received = defaultdict[str, list[float]](list)
    for receive in remains.received:
        received[receive.instance].append(receive.at)
    locked = [(entry.at, entry.until) for entry in remains.struck if entry.locked]
    deploys = [entry.at for entry in remains.struck if entry.what == DEPLOYED]
    # The last worker of the old version may take a while to stop.
    deploy = [(deploys[0], deploys[-1] + 2 * remains.longest_lease)] if deploys else []
    strikes = sorted(entry.at for entry in remains.struck if entry.what in STRIKES)
    for sent in remains.sent:
        end = performed.get((sent.instance, sent.n))
        if sent.n and end is not None and is_healthy(sent.instance):
            between = [at for at in received[sent.instance] if sent.at < at < end]
            parts = list(pairwise(sorted([min(sent.at, end), *between, end])))
            yield Wait(
                sent.instance,
                sent.n,
                total=end - parts[0][0],
                longest=max(end - begin for begin, end in parts),
                judged=max(end - _last_strike(strikes, begin, min(end, begin + remains.limit)) for begin, end in parts),
                receives=len(between),
                locked=_overlaps(sent.at, end, locked),
                deploy=_overlaps(sent.at, end, deploy),
            )


def _overlaps(begin: float, end: float, times: Sequence[tuple[float, float]]) -> bool:
    return any(at < end and begin < until for at, until in times)


def _last_strike(strikes: Sequence[float], begin: float, end: float) -> float:
    """Return the moment of the last of the sorted `strikes` between `begin` and `end`; `begin` if there is none."""
    index = bisect_right(strikes, end)
    return max(begin, strikes[index - 1]) if index else begin


def is_healthy(name: str) -> bool:
    return name.startswith("healthy-")


def is_guarded(name: str) -> bool:
    return name.startswith("guarded-")


def _by_instance(events: Iterable[Event]) -> Mapping[str, Sequence[Event]]:
    groups = defaultdict[str, list[Event]](list)
    for event in events:
        groups[event.instance].append(event)
    return groups
