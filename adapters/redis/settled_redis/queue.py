"""The queue: a lane for each key, and one line of the lanes that are ready in each partition.

A lane that is handed out and comes back joins the end of its line, so that a long backlog passes the others by one
batch at a time. Each hand-out raises the lane's token; a receipt names it, so what an older holder still says changes
nothing.

Whoever finds nothing waits at the server, for a word that says which partition to look at. Such a word is left by
everything that makes a lane ready, parks one, or makes a timer the next to be due; taking it is up to one of those who
wait, who leaves another if there is more than it can take. Leases that were handed out meanwhile are not announced,
because nearly all of them end well; nor is a timer once more, if whoever was told of it found a message instead. So
those who wait look again by themselves now and then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from settled.durable.messages import Message
from settled.durable.ports import Delivery
from settled.errors import ConflictError, OutcomeUnknownError, SettledError, UnavailableError
from settled_redis.keyspace import Partition
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient, ScriptResult

POLL_INTERVAL = 2.0
"""Seconds after which a waiting `receive` looks by itself, at most."""

BY_ANOTHER_CLOCK = 0.02
"""The same, where time is not the servers': nobody knows how it passes."""


class RedisQueue:
    """The queue of a `RedisBackend`."""

    def __init__(self, performer: ScriptClient) -> None:
        self._performer = performer
        self._longest = min(POLL_INTERVAL, performer.patience / 2) if performer.clock is None else BY_ANOTHER_CLOCK
        self._first = 0

    def send(self, messages: Sequence[Message]) -> None:
        parts: dict[Partition, ScriptArgs] = {}
        for message in messages:
            partition = self._performer.space.of_key(message.key)
            parts.setdefault(partition, ScriptArgs(partition)).send(message)
        self._performer.perform_all(parts.values())

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        if limit < 1:
            return ()
        end = time.monotonic() + wait
        partitions: Iterable[Partition] = self._in_turn()
        while True:
            deliveries, pause = self._look(partitions, limit)
            remaining = end - time.monotonic()
            if deliveries or remaining <= 0:
                return deliveries
            partition = self._performer.wait(min(pause, remaining))
            partitions = self._in_turn() if partition is None else [partition]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._divided(deliveries)]
        for steps, group in parts:
            steps.acknowledge(group)
        self._performer.perform_all(steps for steps, _ in parts)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._divided(deliveries)]
        for steps, group in parts:
            steps.release(group, delay)
        self._performer.perform_all(steps for steps, _ in parts)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._divided(deliveries)]
        for steps, group in parts:
            steps.extend(group, lease)
        done = self._performer.perform_all(steps for steps, _ in parts)
        lost = [name for each in done for name in each.lost]
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")

    def forward(self, partition: Partition, done: ScriptResult) -> Sequence[Partition]:
        """Send what timers of `partition` owe to other partitions, and only then forget the timers; to which ones."""
        homes: list[Partition] = []
        for member, post in done.elsewhere:
            home = self._performer.space.partitions[int(post.partition(b" ")[0])]
            there, here = ScriptArgs(home), ScriptArgs(partition)
            there.send_post(post)
            here.rung(member)
            self._performer.perform(there)
            self._performer.perform(here)
            homes.append(home)
        return list(dict.fromkeys(homes))

    def _divided(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[Partition, Sequence[Delivery]]]:
        groups: dict[Partition, list[Delivery]] = {}
        for delivery in deliveries:
            groups.setdefault(self._performer.space.of_key(delivery.message.key), []).append(delivery)
        return iter(groups.items())

    def _in_turn(self) -> Sequence[Partition]:
        """All partitions; each time another one comes first, so that none is always the last."""
        partitions = self._performer.space.partitions
        self._first = (self._first + 1) % len(partitions)
        return partitions[self._first :] + partitions[: self._first]

    def _look(self, partitions: Iterable[Partition], limit: int) -> tuple[Sequence[Delivery], float]:
        """What the first of `partitions` has that has anything; and for how long nothing else may be expected.

        Raises:
            Unavailable: none of them can be reached.
        """
        pause, left, answered, failure = self._longest, list(partitions), False, None
        while left:
            partition, *left = left
            steps = ScriptArgs(partition)
            steps.receive(limit)
            try:
                # A hand-out whose answer is lost does no harm: the leases end, and everything is handed out again.
                done = self._performer.perform(steps, changes=False)
            except UnavailableError as error:
                failure = error  # the others may be on another server
                continue
            answered = True
            if done.deliveries:
                # These must be returned, whatever becomes of the timers, which are found again.
                with suppress(SettledError):
                    self.forward(partition, done)
                return done.deliveries, 0.0
            try:
                left += self.forward(partition, done)
            except (UnavailableError, OutcomeUnknownError):
                continue  # these timers are found again, and what is in the other partitions is not held up
            pause = pause if done.pause is None else min(pause, done.pause)
        if failure is not None and not answered:
            raise failure
        return (), pause
