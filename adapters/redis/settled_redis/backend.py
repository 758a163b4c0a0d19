"""A backend on Redis or Valkey: one server or a cluster, for any number of processes and threads.

The servers are the only truth: nothing is kept between two calls but open connections, who has which slot, and how far
the servers' clocks are ahead of ours.

What is called together is done together within one partition, which is the whole key space on one server unless the
URL says otherwise. In a key space of several, `RedisBackend.finish` does what its own instance's partition holds
first, in one call if it has nothing else to do, then what goes to others, and acknowledges last.

How long what was answered stays is up to the servers' own settings; `settled_redis.doctor` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import evolve

from settled.durable.ports import Capability, Delivery, Finished, Write
from settled.errors import BackendRefusedError, OutcomeUnknownError, SettledError, UnavailableError
from settled.key import Key
from settled_redis.clock import RedisClock
from settled_redis.connect import largest_request, reach
from settled_redis.keyspace import KeySpace, Partition, prepare
from settled_redis.queue import RedisQueue
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient, ScriptResult
from settled_redis.store import RedisStore, expect, refusal
from settled_redis.timers import RedisTimers
from settled_redis.topology import Topology
from settled_redis.url import Options, parse

_EVERYTHING = frozenset(Capability)


class RedisBackend:
    """A store, a queue and timers under one prefix; `RedisBackend.open` makes one."""

    def __init__(
        self, servers: Topology, space: KeySpace, options: Options, limit: int, clock: Callable[[], float] | None = None
    ) -> None:
        self._servers = servers
        self._space = space
        self._lease = options.lease
        server_clock = RedisClock(len(space.partitions))
        self._now = clock or server_clock.now
        self._performer = ScriptClient(
            servers,
            space,
            options.lease,
            options.remember,
            limit,
            options.replicas,
            options.timeout,
            clock,
            server_clock,
        )
        if clock is None:
            self._performer.look_at_the_clock()
        self._store = RedisStore(self._performer)
        self._queue = RedisQueue(self._performer)
        self._timers = RedisTimers(self._performer)
        self._has_one_partition = len(space.partitions) == 1

    @classmethod
    def open(cls, url: str, clock: Callable[[], float] | None = None, **options: Any) -> RedisBackend:
        """Open the key space at `url`, and make it if there is none.

        `options` are as in the URL, and give way to it (see `settled_redis.url.Options`). `clock` gives seconds since
        the epoch, and is for tests: leases and timers go by the servers' own unless it is given.

        Raises:
            Denied: the URL is not understood, the password was refused, or the server is too old.
            RecordError: the keys there are something else's, or another version of settled wrote them.
            Unavailable: nobody answered.
        """
        place = parse(url)
        settings = evolve(Options(**options), **place.given)
        servers = reach(place, settings)
        try:
            space = prepare(servers, settings.prefix, settings.partitions)
            return cls(servers, space, settings, largest_request(servers), clock)
        except BaseException:
            servers.close()
            raise

    @property
    def store(self) -> RedisStore:
        return self._store

    @property
    def queue(self) -> RedisQueue:
        return self._queue

    @property
    def timers(self) -> RedisTimers:
        return self._timers

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All of them; but a finish over several partitions is not atomic."""
        return _EVERYTHING if self._has_one_partition else _EVERYTHING - {Capability.ATOMIC_FINISH}

    @property
    def lease(self) -> float:
        return self._lease

    @property
    def resolution(self) -> float:
        """None: a timer rings by the same clock that `now` goes by."""
        return 0.0

    def now(self) -> float:
        return self._now()

    def finish(self, write: Write) -> None:
        home, away = self._divided(write)
        last = ScriptArgs(home.partition) if away else home
        last.acknowledge(write.acks)
        done = self._performer.perform_all(each for each in dict.fromkeys((home, *away, last)) if each.words)
        if done:
            expect(write.key, write.expected, done[0])

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        """What changes one partition travels with all that does; the rest goes as in `finish`."""
        refused: dict[Key, SettledError] = {}
        groups: dict[Partition, dict[Key, ScriptArgs]] = {}
        for write in writes:
            steps, away = self._divided(write)
            steps.acknowledge(write.acks)
            if away or not self._performer.takes(steps):
                refused |= self._finish_alone(write)
            else:
                groups.setdefault(steps.partition, {})[write.key] = steps
        expected = {write.key: write.expected for write in writes}
        if groups and self._has_one_partition:
            ((partition, group),) = groups.items()
            if receive > 0:
                list(group.values())[-1].receive(receive)
            done = self._done_together(group, len(writes))
            last = list(done.values())[-1]
            return Finished(refused | _refusals(done, expected), tuple(self._handed_out(partition, last)))
        for group in groups.values():
            refused |= _refusals(self._done_together(group, len(writes)), expected)
        deliveries: Sequence[Delivery] = ()
        if receive > 0:
            with suppress(SettledError):  # What was written is written; and what is there is found again.
                deliveries = self._queue.receive(receive)
        return Finished(refused, tuple(deliveries))

    def _done_together(self, group: Mapping[Key, ScriptArgs], of: int) -> Mapping[Key, ScriptResult]:
        """What came of the writes of `group`, which are some `of` as many.

        Raises:
            Unknown: also if none of these was done, but some of the others may have been.
        """
        try:
            return dict(zip(group, self._performer.perform_together([*group.values()]), strict=True))
        except (UnavailableError, BackendRefusedError) as error:
            if len(group) == of:
                raise
            raise OutcomeUnknownError(f"perhaps only some of {of} writes were done: {error}") from error

    def _finish_alone(self, write: Write) -> Mapping[Key, SettledError]:
        try:
            self.finish(write)
        except SettledError as error:
            return {write.key: error}
        return {}

    def close(self) -> None:
        self._servers.close()

    def _divided(self, write: Write) -> tuple[ScriptArgs, Sequence[ScriptArgs]]:
        """What `write` changes where its key lives, and elsewhere; all but the acknowledgements."""
        home = self._space.of_key(write.key)
        parts = {home: ScriptArgs(home)}
        if write.stored is not None:
            parts[home].commit(write.key, write.stored, write.expected, write.holder)
            parts[home].move_letters(write.key, write.bury, write.unbury)
        for message in write.sends:
            partition = self._space.of_key(message.key)
            parts.setdefault(partition, ScriptArgs(partition)).send(message)
        for timer in write.timers:
            partition = self._space.of_timer(timer.id)
            parts.setdefault(partition, ScriptArgs(partition)).schedule(timer, self._space.of_key(timer.message.key))
        for timer_id in write.cancels:
            partition = self._space.of_timer(timer_id)
            parts.setdefault(partition, ScriptArgs(partition)).cancel(timer_id)
        return parts.pop(home), list(parts.values())

    def _handed_out(self, home: Partition, done: ScriptResult) -> Sequence[Delivery]:
        # What was written is written, whatever becomes of these; they are found again.
        with suppress(SettledError):
            self._queue.forward(home, done)
        return done.deliveries


def _refusals(done: Mapping[Key, ScriptResult], expected: Mapping[Key, int]) -> dict[Key, SettledError]:
    """Return the reason for each refused write, by its key."""
    return {key: refusal(key, expected[key], each) for key, each in done.items() if each.is_refused}
