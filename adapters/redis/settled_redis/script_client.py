"""Running ``script.lua``: the operations of one partition in one round trip, all of them or none.

A server knows the script by its digest. A server that does not have it, because it is new, was restarted or was told to
flush its scripts, answers NOSCRIPT and does nothing; then the whole text is sent, and the server has it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, cast

from attrs import frozen
from redis.exceptions import NoScriptError

from settled.durable.ports import Delivery
from settled.errors import (
    BackendRefusedError,
    BackendReplacedError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)
from settled_redis.clock import RedisClock
from settled_redis.connection import RedisCommand
from settled_redis.errors import REPLACED
from settled_redis.keyspace import KeySpace, Partition, decoded, encoded
from settled_redis.script_args import MICROSECONDS, ScriptArgs, decode_delivery, microseconds
from settled_redis.topology import Topology

_TEXT = files("settled_redis").joinpath("script.lua").read_bytes()
_DIGEST = hashlib.sha1(_TEXT, usedforsecurity=False).hexdigest().encode()


@frozen
class ScriptResult:
    """The result of one call of the script.

    Attributes:
        now: the server's time, in microseconds since the epoch.
        found_version: the version that was found instead of the expected one; then nothing was done.
        has_lost_lease: the holder of the commit had lost its lease; then nothing was done.
        deliveries: the messages that were leased.
        lost_leases: the names of the instances whose lease was to be extended, and was lost.
        pause: for how many seconds nothing will be ready unless something is sent; None if unknown.
        other_partition: the timers that are due and belong to instances of other partitions: the member of ``timers``
            and the payload of each.
        to_wake: the names of the machines of which a waiting receiver has to be woken for this partition.
    """

    now: int
    found_version: int | None = None
    has_lost_lease: bool = False
    deliveries: Sequence[Delivery] = ()
    lost_leases: Sequence[str] = ()
    pause: float | None = None
    other_partition: Sequence[tuple[bytes, bytes]] = ()
    to_wake: Sequence[bytes] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the commit failed, so that nothing was done."""
        return self.found_version is not None or self.has_lost_lease


@frozen
class ScriptClient:
    """Runs the script on `servers`, in the partitions of `space`.

    Attributes:
        servers: one server or a cluster.
        space: the key space.
        lease: how long a new lease lasts, in seconds.
        remember: how many ids of acknowledged messages the queue deduplicates by, for each key.
        limit: the size of the largest request, in bytes.
        replicas: how many replicas must have received a write.
        timeout: how long one call may take, in seconds.
        clock: returns seconds since the epoch; None to use the servers' clocks.
        server_clock: gets the time in each answer.
    """

    servers: Topology
    space: KeySpace
    lease: float
    remember: int
    limit: int
    replicas: int
    timeout: float
    clock: Callable[[], float] | None
    server_clock: RedisClock

    def run(self, args: ScriptArgs, changes: bool = True) -> ScriptResult:
        """Run the script once.

        Args:
            args: its operations.
            changes: raise `OutcomeUnknownError` if the answer is lost. If False, raise `UnavailableError` instead,
                because repeating the call is safe.

        Raises:
            TooLargeError: the request exceeds the server's limit.
        """
        self._check_size(args)
        return self._run(args, changes)

    def run_in_order(self, parts: Iterable[ScriptArgs]) -> Sequence[ScriptResult]:
        """Run the script in several partitions, one after the other, up to the first that is refused.

        Raises:
            TooLargeError: one of the requests exceeds the server's limit; none was sent.
            OutcomeUnknownError: perhaps not all of them were carried out.
        """
        done: list[ScriptResult] = []
        for args in (each := list(parts)):
            self._check_size(args)
        for args in each:
            try:
                done.append(self._run(args, changes=True))
                if done[-1].is_refused:
                    break
            except (UnavailableError, BackendRefusedError) as error:
                # Both mean that nothing happened, and some of it has.
                if done:
                    raise OutcomeUnknownError(f"only {len(done)} of {len(each)} parts were done: {error}") from error
                raise
        return done

    def run_together(self, parts: Sequence[ScriptArgs]) -> Sequence[ScriptResult]:
        """Run the script several times in one partition, in one round trip; each call succeeds or is refused by itself.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError: nothing was carried out.
            OutcomeUnknownError: perhaps not all of it was carried out.
        """
        partition = parts[0].partition
        try:
            return self._send(partition, [self._arguments(args) for args in parts], changes=True)
        except (UnavailableError, BackendRefusedError) as error:
            if len(parts) == 1:
                raise
            raise OutcomeUnknownError(f"perhaps only some of {len(parts)} parts were done: {error}") from error

    def fits(self, args: ScriptArgs) -> bool:
        """Return whether the request is within the server's limit."""
        return sum(map(len, args.argv)) <= self.limit

    def read(self, partition: Partition, commands: Sequence[RedisCommand]) -> list[Any]:
        """Return the answers to `commands`, which change nothing, from one round trip.

        Raises:
            BackendReplacedError: the key space is not the one that was opened.
        """
        if not commands:
            return []
        epoch, *answers = self.servers.ask(partition.slot, [[b"GET", partition.epoch], *commands], changes=False)
        if epoch != encoded(self.space.epoch):
            raise BackendReplacedError(f"{decoded(partition.prefix)}: {REPLACED}")
        return answers

    def wait(self, seconds: float, machines: Collection[str] | None) -> Partition | None:
        """Wait until there is a wakeup for `machines`, or for any, and return its partition; None after `seconds`."""
        first = self.space.partitions[0]
        # At least a millisecond: 0 would wait for ever.
        command = [b"BZPOPMIN", *first.wakeups(machines), b"%.3f" % max(seconds, 0.001)]
        popped = self.servers.wait(first.slot, command)
        return None if popped is None else self.space.partitions[int(popped[1])]

    def now(self) -> float:
        """Return the time, in seconds since the epoch: that of `clock`, or else the servers'."""
        return self.server_clock.now() if self.clock is None else self.clock()

    def read_server_clock(self) -> None:
        """Ask a server for its time, so that the clock is known before the first call of the script."""
        first, asked = self.space.partitions[0], time.monotonic()
        ((seconds, microseconds_part),) = self.servers.ask(first.slot, [[b"TIME"]], changes=False)
        server_time = int(seconds) + int(microseconds_part) / MICROSECONDS
        self.server_clock.observe(first.number, server_time, asked, time.monotonic())

    def _run(self, args: ScriptArgs, changes: bool) -> ScriptResult:
        (result,) = self._send(args.partition, [self._arguments(args)], changes)
        return result

    def _send(self, partition: Partition, calls: Sequence[Sequence[bytes]], changes: bool) -> Sequence[ScriptResult]:
        """Send `calls` of the script together, and return their results in the same order."""
        asked = time.monotonic()
        answers = self._answers(partition, calls, changes)
        answered = time.monotonic()
        results = [self._decode(answer) for answer in answers]
        self.server_clock.observe(partition.number, results[-1].now / MICROSECONDS, asked, answered)
        to_wake = dict.fromkeys(name for each in results for name in each.to_wake)
        if to_wake:
            self._wake(partition, results[-1].now, to_wake)
        return results

    def _answers(self, partition: Partition, calls: Sequence[Sequence[bytes]], changes: bool) -> list[Any]:
        answers = self._ask(partition, [[b"EVALSHA", _DIGEST, *arguments] for arguments in calls], changes)
        # Only the calls that the server did not know: the others were carried out.
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            repeated = self._ask(partition, [[b"EVAL", _TEXT, *calls[index]] for index in unknown], changes)
            for index, answer in zip(unknown, repeated, strict=True):
                answers[index] = answer
        return answers

    def _arguments(self, args: ScriptArgs) -> Sequence[bytes]:
        """Return the arguments of EVALSHA: the number of keys, KEYS and ARGV, as ``script.lua`` describes them."""
        partition = args.partition
        return [
            b"%d" % (len(partition.keys) + len(args.keys)),
            *partition.keys,
            *args.keys,
            b"-1" if self.clock is None else microseconds(self.clock()),
            b"%d" % partition.number,
            b"%d" % self.remember,
            microseconds(self.lease),
            encoded(self.space.epoch),
            *args.argv,
        ]

    def _wake(self, partition: Partition, now: int, machines: Iterable[bytes]) -> None:
        first = self.space.partitions[0]
        wakeups = first.named(b"wakeups")
        keys = [wakeups, *(b"%b:%b" % (wakeups, machine) for machine in machines)]
        # A lost wakeup is no reason to fail: what it announces has happened, and receivers poll too, only later.
        with suppress(SettledError):
            commands = [[b"ZADD", key, b"NX", b"%d" % now, b"%d" % partition.number] for key in keys]
            self.servers.ask(first.slot, commands, changes=False)

    def _check_size(self, args: ScriptArgs) -> None:
        if not self.fits(args):
            raise TooLargeError(f"{sum(map(len, args.argv))} bytes; the limit of one request to Redis is {self.limit}")

    def _ask(self, partition: Partition, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        """Return the answers to `commands`; if they change something, wait for the replicas too.

        Raises:
            OutcomeUnknownError: with `changes`, the answer was lost, or too few replicas received the write in time.
        """
        if not self.replicas or not changes:
            return self.servers.ask(partition.slot, commands, changes)
        # WAIT takes milliseconds. Half of the timeout: its answer must come before the connection is given up.
        wait = [b"WAIT", b"%d" % self.replicas, b"%d" % (self.timeout * 500)]
        *answers, received = self.servers.ask(partition.slot, [*commands, wait], changes)
        # With NOSCRIPT, nothing was written by that call; its repetition waits again.
        if received < self.replicas and not any(isinstance(answer, NoScriptError) for answer in answers):
            raise OutcomeUnknownError(
                f"it was written, but only {received} of {self.replicas} replicas have received it"
            )
        return answers

    def _decode(self, answer: Any) -> ScriptResult:
        first, *texts = cast("list[bytes]", answer if isinstance(answer, list) else [answer])
        outcome, *numbers = first.split()
        if outcome == b"conflict":
            return ScriptResult(now=int(numbers[1]), found_version=int(numbers[0]))
        if outcome == b"lost":
            return ScriptResult(now=int(numbers[0]), has_lost_lease=True)
        now, next_due, to_wake, lost, other_partition = map(int, numbers)
        until = (now + round(self.lease * MICROSECONDS)) / MICROSECONDS
        machines, texts = texts[:to_wake], texts[to_wake:]
        timers = texts[lost : lost + other_partition]
        return ScriptResult(
            now=now,
            deliveries=[decode_delivery(text, until, self.space.epoch) for text in texts[lost + other_partition :]],
            lost_leases=[decoded(name) for name in texts[:lost]],
            pause=None if next_due < 0 else (next_due - now) / MICROSECONDS,
            other_partition=list(zip(timers[::2], timers[1::2], strict=True)),
            to_wake=machines,
        )
