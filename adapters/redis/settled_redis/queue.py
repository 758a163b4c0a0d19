"""The queue: a message group for each key, and lists of the groups that are ready, of each machine in each partition.

A group that comes back from a lease goes to the end of its list, and a receive for several machines takes a group of
each in turn: so a long backlog delays each other key by one batch at most, or by one for each machine. Each lease has a
new token, which its receipts name: a receipt of an older lease changes nothing.

A receiver that finds nothing waits at the server for a wakeup for one of its machines, which names the partition to
poll. A script adds one whenever it makes a group ready, parks one, or schedules a timer that becomes the next one. One
waiting receiver takes it, and adds another if it leaves messages behind. Some events add none: leases that begin
meanwhile, because nearly all of them end with an acknowledgement; and a timer whose wakeup was taken by a receiver that
then got a message instead. Therefore each receiver also polls all partitions now and then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery
from settled.errors import ConflictError, OutcomeUnknownError, SettledError, UnavailableError
from settled.key import Key
from settled_redis.keyspace import Partition, decoded
from settled_redis.script_args import MICROSECONDS, ScriptArgs, microseconds
from settled_redis.script_client import ScriptClient, ScriptResult

POLL_INTERVAL = 2.0
"""The longest time, in seconds, for which a waiting `receive` relies on wakeups."""

POLL_INTERVAL_OF_OTHER_CLOCKS = 0.02
"""The same with a clock that is not the servers', because such a clock may advance at any moment."""


COUNTED_AT_ONCE = 1000
"""How many groups are counted with one request."""


class RedisQueue:
    """The queue of a `RedisBackend`."""

    def __init__(self, script_client: ScriptClient) -> None:
        self._script_client = script_client
        # Half of the timeout: the wait must be over before the connection is given up.
        self._poll_interval = (
            min(POLL_INTERVAL, script_client.timeout / 2)
            if script_client.clock is None
            else POLL_INTERVAL_OF_OTHER_CLOCKS
        )
        self._first = 0
        self._receives = 0

    def send(self, messages: Sequence[Message]) -> None:
        parts: dict[Partition, ScriptArgs] = {}
        for message in messages:
            partition = self._script_client.space.of_key(message.key)
            parts.setdefault(partition, ScriptArgs(partition)).send(message)
        self._script_client.run_in_order(parts.values())

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        if limit < 1 or (machines is not None and not machines):
            return ()
        end = time.monotonic() + wait
        partitions: Iterable[Partition] = self._rotated_partitions()
        while True:
            deliveries, pause = self._poll(partitions, limit, machines)
            remaining = end - time.monotonic()
            if deliveries or remaining <= 0:
                return deliveries
            partition = self._script_client.wait(min(pause, remaining), machines)
            partitions = self._rotated_partitions() if partition is None else [partition]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._by_partition(deliveries)]
        for args, group in parts:
            args.acknowledge(group)
        self._script_client.run_in_order(args for args, _ in parts)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._by_partition(deliveries)]
        for args, group in parts:
            args.release(group, delay)
        self._script_client.run_in_order(args for args, _ in parts)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._by_partition(deliveries)]
        for args, group in parts:
            args.extend(group, lease)
        results = self._script_client.run_in_order(args for args, _ in parts)
        lost = [name for each in results for name in each.lost_leases]
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        """Count the messages, by some reads of each partition: they are not counted at one moment."""
        counts: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        for partition in self._script_client.space.partitions:
            for name, count, since in self._ready_groups(partition):
                machine = Key.parse(decoded(name)).machine
                if count:
                    counts[machine] += count
                    oldest[machine] = min(since, oldest.get(machine, since))
        return [Backlog(machine, count, oldest[machine]) for machine, count in sorted(counts.items())]

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        parts = [(ScriptArgs(partition), group) for partition, group in self._by_partition(deliveries)]
        for args, group in parts:
            args.withdraw(group)
        self._script_client.run_in_order(args for args, _ in parts)

    def _ready_groups(self, partition: Partition) -> Iterator[tuple[bytes, int, float]]:
        """Yield the name of each group of `partition` that is ready, how many messages it has, and since when."""
        now = microseconds(self._script_client.now())
        found = self._script_client.read(
            partition,
            [
                [b"ZRANGE", partition.named(b"ready_machines"), b"0", b"-1", b"WITHSCORES"],
                [b"ZRANGEBYSCORE", partition.named(b"blocked"), b"-inf", now, b"WITHSCORES"],
            ],
        )
        # Each member is followed by its score.
        machines, ended = (dict(zip(each[::2], map(float, each[1::2]), strict=True)) for each in found)
        lines = self._script_client.read(
            partition, [[b"LRANGE", partition.named(b"ready:" + each), b"0", b"-1"] for each in machines]
        )
        since = ended | {name: at for line, at in zip(lines, machines.values(), strict=True) for name in line}
        names = list(since)
        for start in range(0, len(names), COUNTED_AT_ONCE):
            some = names[start : start + COUNTED_AT_ONCE]
            commands = [[b"LLEN", partition.named(b"queue:" + name)] for name in some]
            lengths = self._script_client.read(partition, commands)
            for name, length in zip(some, lengths, strict=True):
                yield name, length, since[name] / MICROSECONDS

    def add_receive(self, args: ScriptArgs, limit: int, machines: Collection[str] | None) -> None:
        """Add a receive to `args`. Each begins with another machine, so that none is starved by those before it."""
        self._receives += 1
        args.receive(limit, machines, self._receives)

    def forward(self, partition: Partition, result: ScriptResult) -> Sequence[Partition]:
        """Send the messages of timers of `partition` that belong to other partitions; return these partitions."""
        homes: list[Partition] = []
        for member, payload in result.other_partition:
            home = self._script_client.space.partitions[int(payload.partition(b" ")[0])]
            send, forget = ScriptArgs(home), ScriptArgs(partition)
            send.send_payload(payload)
            forget.forget_fired(member)
            # In this order: a crash in between repeats the message, which is deduplicated. The other way round it would
            # lose it.
            self._script_client.run(send)
            self._script_client.run(forget)
            homes.append(home)
        return list(dict.fromkeys(homes))

    def _by_partition(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[Partition, Sequence[Delivery]]]:
        groups: dict[Partition, list[Delivery]] = {}
        for delivery in deliveries:
            groups.setdefault(self._script_client.space.of_key(delivery.message.key), []).append(delivery)
        return iter(groups.items())

    def _rotated_partitions(self) -> Sequence[Partition]:
        """Return all partitions, beginning with another one each time, so that none is starved by those before it."""
        partitions = self._script_client.space.partitions
        self._first = (self._first + 1) % len(partitions)
        return partitions[self._first :] + partitions[: self._first]

    def _poll(
        self, partitions: Iterable[Partition], limit: int, machines: Collection[str] | None
    ) -> tuple[Sequence[Delivery], float]:
        """Receive from the first of `partitions` that has messages, of `machines` if given.

        Returns:
            The deliveries; and if there are none, for how many seconds none are to be expected.

        Raises:
            UnavailableError: none of the partitions can be reached.
        """
        pause, left, any_answered, failure = self._poll_interval, list(partitions), False, None
        while left:
            partition, *left = left
            args = ScriptArgs(partition)
            self.add_receive(args, limit, machines)
            try:
                # changes=False: if the answer is lost, the leases end, and the messages are delivered again.
                result = self._script_client.run(args, changes=False)
            except UnavailableError as error:
                failure = error  # the other partitions may be on another server
                continue
            any_answered = True
            if result.deliveries:
                # They are leased and must be returned, even if forwarding fails: the timers are found again.
                with suppress(SettledError):
                    self.forward(partition, result)
                return result.deliveries, 0.0
            try:
                left += self.forward(partition, result)
            except (UnavailableError, OutcomeUnknownError):
                continue  # these timers are found again; the other partitions must not wait for them
            pause = pause if result.pause is None else min(pause, result.pause)
        if failure is not None and not any_answered:
            raise failure
        return (), pause
