"""A backend on Redis or Valkey: one server or a cluster, for any number of processes and threads.

The servers are the only truth: nothing is kept between two calls but open connections, the map of the slots, and how
far the servers' clocks are ahead of ours.

Within one partition, a call is atomic; on a single server the whole key space is one partition, unless the URL says
otherwise. With several partitions, `RedisBackend.finish` first does everything in the partition of its own instance,
then what goes to other partitions, and acknowledges last. If nothing goes to other partitions, it is one call too.

How durable an answered write is depends on the servers' settings. `settled_redis.durability` refuses those that lose it
when a server stops or is full; `settled_redis.doctor` examines the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any

from attrs import evolve

from settled.durable.ports import Capability, ClosedOnExit, Delivery, FinishResult, Write
from settled.errors import BackendRefusedError, OutcomeUnknownError, SettledError, UnavailableError
from settled.key import Key
from settled_redis.clock import RedisClock
from settled_redis.connect import connect, largest_request
from settled_redis.durability import require_durable
from settled_redis.keyspace import KeySpace, Partition, prepare
from settled_redis.queue import RedisQueue
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient, ScriptResult
from settled_redis.store import RedisStore, commit_error, raise_if_refused
from settled_redis.timers import RedisTimers
from settled_redis.topology import Topology
from settled_redis.url import Options, parse
from settled_redis.watchers import RedisWatchers

CAPABILITIES = frozenset(
    {
        Capability.ATOMIC_FINISH,
        Capability.JOINT_FINISH,
        Capability.FENCED_FINISH,
        Capability.POSITIONS,
        Capability.SELECTIVE_RECEIVE,
        Capability.BACKLOG,
        Capability.SCAN,
        Capability.WATCH,
        Capability.DEDUPLICATION,
        Capability.NO_DELIVERY_AFTER_ACK,
        Capability.NO_DELIVERY_AFTER_CANCEL,
    }
)


class RedisBackend(ClosedOnExit):
    """A store, a queue and timers under one prefix; `RedisBackend.open` makes one."""

    def __init__(
        self, servers: Topology, space: KeySpace, options: Options, limit: int, clock: Callable[[], float] | None = None
    ) -> None:
        self._servers = servers
        self._space = space
        self._lease = options.lease
        self._largest_message = options.largest_message
        server_clock = RedisClock(len(space.partitions))
        self._now = clock or server_clock.now
        self._script_client = ScriptClient(
            servers,
            space,
            options.lease.total_seconds(),
            options.remember,
            limit,
            options.replicas,
            options.timeout.total_seconds(),
            clock,
            server_clock,
        )
        if clock is None:
            self._script_client.read_server_clock()
        self._store = RedisStore(self._script_client)
        self._queue = RedisQueue(self._script_client)
        self._timers = RedisTimers(self._script_client)
        self._watchers = RedisWatchers(servers, space)
        self._has_one_partition = len(space.partitions) == 1

    @classmethod
    def open(cls, url: str, clock: Callable[[], float] | None = None, **options: Any) -> RedisBackend:
        """Open the key space at `url`, and create it if there is none.

        Args:
            url: see `settled_redis.url.parse`.
            clock: returns seconds since the epoch, for tests. By default, leases and timers go by the servers' clocks.
            options: `settled_redis.url.Options`; those in the URL take precedence.

        Raises:
            BackendConfigError: the URL is malformed, the server is too old or loses acknowledged writes, or the number
                of partitions is another one.
            AccessDeniedError: the server refused the user, the password, or a command.
            RecordError: the keys belong to another application, or to another version of settled.
            UnavailableError: no server answered.
        """
        parsed = parse(url)
        settings = evolve(Options(**options), **parsed.options)
        servers = connect(parsed, settings)
        try:
            if settings.check_durability:
                require_durable(servers)
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
        """All of them, except that a finish over several partitions is not atomic."""
        # Across partitions, and so across the servers of a cluster, there is no transaction.
        return CAPABILITIES if self._has_one_partition else CAPABILITIES - {Capability.ATOMIC_FINISH}

    @property
    def lease(self) -> timedelta:
        return self._lease

    @property
    def resolution(self) -> timedelta:
        """Zero: timers fire by the same clock that `now` is derived from."""
        return timedelta()

    @property
    def largest_message(self) -> int:
        return self._largest_message

    @property
    def retention(self) -> None:
        """None: a message waits until it is taken."""
        return None

    def now(self) -> float:
        return self._now()

    def finish(self, write: Write) -> None:
        home, others = self._args_by_partition(write)
        # The commit comes first and the acknowledgement last: if a call in between fails, the message is delivered
        # again, and the outbox in the record sends the rest. Only without other partitions is it one call.
        last = ScriptArgs(home.partition) if others else home
        last.acknowledge(write.acks)
        results = self._script_client.run_in_order(each for each in dict.fromkeys((home, *others, last)) if each.argv)
        if results:
            raise_if_refused(write.key, write.expected, results[0])

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        """Finish the writes that change one partition together, in one round trip; others as in `finish`."""
        refused: dict[Key, SettledError] = {}
        groups: dict[Partition, dict[Key, ScriptArgs]] = {}
        for write in writes:
            args, others = self._args_by_partition(write)
            args.acknowledge(write.acks)
            # One that is too large must fail alone, and not with all that travels with it.
            if others or not self._script_client.fits(args):
                refused |= self._finish_alone(write)
            else:
                groups.setdefault(args.partition, {})[write.key] = args
        expected = {write.key: write.expected for write in writes}
        if groups and self._has_one_partition:
            ((partition, group),) = groups.items()
            if receive > 0:
                # In the same round trip, and after all writes: what they send may be delivered at once.
                self._queue.add_receive(list(group.values())[-1], receive, machines)
            results = self._run_together(group, len(writes))
            last = list(results.values())[-1]
            with suppress(SettledError):  # The writes are done, whatever becomes of these timers; they are found again.
                self._queue.forward(partition, last)
            return FinishResult(refused | _errors(results, expected), tuple(last.deliveries))
        for group in groups.values():
            refused |= _errors(self._run_together(group, len(writes)), expected)
        deliveries: Sequence[Delivery] = ()
        if receive > 0:
            with suppress(SettledError):  # The writes are done, and the messages are found again.
                deliveries = self._queue.receive(receive, machines=machines)
        return FinishResult(refused, tuple(deliveries))

    def _run_together(self, group: Mapping[Key, ScriptArgs], total: int) -> Mapping[Key, ScriptResult]:
        """Run the script for each write of `group`, which are some or all of a `total` of writes.

        Raises:
            OutcomeUnknownError: also if nothing of this group was done, but something of the others may have been.
        """
        try:
            return dict(zip(group, self._script_client.run_together([*group.values()]), strict=True))
        except (UnavailableError, BackendRefusedError) as error:
            # These mean that nothing happened, which is only true if there are no other writes.
            if len(group) == total:
                raise
            raise OutcomeUnknownError(f"perhaps only some of {total} writes were done: {error}") from error

    def _finish_alone(self, write: Write) -> Mapping[Key, SettledError]:
        try:
            self.finish(write)
        except SettledError as error:
            return {write.key: error}
        return {}

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        return self._watchers.added(key, changed)

    def close(self) -> None:
        self._watchers.close()
        self._servers.close()

    def _args_by_partition(self, write: Write) -> tuple[ScriptArgs, Sequence[ScriptArgs]]:
        """Return the operations of `write` in its own partition and those in others, without the acknowledgements."""
        home = self._space.of_key(write.key)
        parts = {home: ScriptArgs(home)}
        # The commit is the first operation, because the script cannot undo any before it.
        if write.stored is not None:
            parts[home].commit(write.key, write.stored, write.expected, write.holder)
            parts[home].move_dead_letters(write.key, write.add_dead_letters, write.remove_dead_letters)
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


def _errors(results: Mapping[Key, ScriptResult], expected: Mapping[Key, int]) -> dict[Key, SettledError]:
    """Return the error of each write that was refused, by its key."""
    return {key: commit_error(key, expected[key], each) for key, each in results.items() if each.is_refused}
