"""Steps are performed by one script: those of one partition in one round trip, all of them or none.

The script is known to a server by its digest. One that does not know it, because it is new, was restarted or told to
forget its scripts, says so and does nothing; then the whole text is sent, and it knows it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, cast

from attrs import frozen
from redis.exceptions import NoScriptError

from settled.durable.ports import Delivery
from settled.errors import BackendRefusedError, OutcomeUnknownError, SettledError, TooLargeError, UnavailableError
from settled_redis.clock import RedisClock
from settled_redis.connection import RedisCommand
from settled_redis.keyspace import KeySpace, Partition, decoded
from settled_redis.script_args import MICROSECONDS, ScriptArgs, delivery, microseconds
from settled_redis.topology import Topology

_TEXT = files("settled_redis").joinpath("script.lua").read_bytes()
_DIGEST = hashlib.sha1(_TEXT, usedforsecurity=False).hexdigest().encode()


@frozen
class ScriptResult:
    """What came of some steps.

    Attributes:
        now: when it was done, in microseconds.
        found: the version that was there instead of the expected one: then nothing was done.
        has_lost: whoever was to commit it has lost its lease: then nothing was done.
        deliveries: what was handed out.
        lost: the names of those whose lease was to be extended, and was lost.
        pause: for how many seconds nothing will be ready unless something is sent; None: nobody knows.
        elsewhere: timers that are due and whose message goes to another partition: how they are called here, and
            their posts.
        must_wake: whoever waits has to be told of this partition.
    """

    now: int
    found: int | None = None
    has_lost: bool = False
    deliveries: Sequence[Delivery] = ()
    lost: Sequence[str] = ()
    pause: float | None = None
    elsewhere: Sequence[tuple[bytes, bytes]] = ()
    must_wake: bool = False

    @property
    def is_refused(self) -> bool:
        return self.found is not None or self.has_lost


@frozen
class ScriptClient:
    """Performs steps on `servers`, in the partitions of `space`.

    `lease` is in seconds, `remember` a count of ids, `limit` the size of the largest request in bytes; `replicas` must
    have received what was written, within `patience` seconds. `clock`: None means the servers' own. What they say of it
    is passed on to `server_clock`.
    """

    servers: Topology
    space: KeySpace
    lease: float
    remember: int
    limit: int
    replicas: int
    patience: float
    clock: Callable[[], float] | None
    server_clock: RedisClock

    def perform(self, steps: ScriptArgs, changes: bool = True) -> ScriptResult:
        """Carry out `steps`: all of them, or none.

        Args:
            changes: a lost answer is `Unknown`; else it is `Unavailable`, because it can do no harm to ask again.

        Raises:
            TooLarge: they are more than a server takes.
        """
        self._check_size(steps)
        return self._perform(steps, changes)

    def perform_all(self, parts: Iterable[ScriptArgs]) -> Sequence[ScriptResult]:
        """Carry out the steps of several partitions, one after the other, up to the first that is refused.

        Raises:
            TooLarge: one of them is more than a server takes. None was carried out.
            Unknown: also if only some of them were carried out.
        """
        done: list[ScriptResult] = []
        for steps in (each := list(parts)):
            self._check_size(steps)
        for steps in each:
            try:
                done.append(self._perform(steps, changes=True))
                if done[-1].is_refused:
                    break
            except UnavailableError as error:
                if done:
                    raise OutcomeUnknownError(f"only {len(done)} of {len(each)} parts were done: {error}") from error
                raise
        return done

    def perform_together(self, parts: Sequence[ScriptArgs]) -> Sequence[ScriptResult]:
        """Carry out `parts`, of one partition, in one round trip; each is done or refused by itself.

        Raises:
            Unavailable, Denied: nothing of it was carried out.
            Unknown: some of it may have been.
        """
        partition = parts[0].partition
        try:
            return self._run(partition, [self._words(steps) for steps in parts], changes=True)
        except (UnavailableError, BackendRefusedError) as error:
            if len(parts) == 1:
                raise
            raise OutcomeUnknownError(f"perhaps only some of {len(parts)} parts were done: {error}") from error

    def takes(self, steps: ScriptArgs) -> bool:
        """Whether `steps` are no more than a server takes."""
        return sum(map(len, steps.words)) <= self.limit

    def wait(self, seconds: float) -> Partition | None:
        """Wait until somebody says which partition to look at."""
        first = self.space.partitions[0]
        command = [b"BZPOPMIN", first.named(b"wakes"), b"%.3f" % max(seconds, 0.001)]
        word = self.servers.wait(first.slot, command)
        return None if word is None else self.space.partitions[int(word[1])]

    def look_at_the_clock(self) -> None:
        """Ask a server what time it is, before it has said so by itself."""
        first, asked = self.space.partitions[0], time.monotonic()
        ((seconds, more),) = self.servers.ask(first.slot, [[b"TIME"]], changes=False)
        said = int(seconds) + int(more) / MICROSECONDS
        self.server_clock.hear(first.number, said, asked, time.monotonic())

    def _perform(self, steps: ScriptArgs, changes: bool) -> ScriptResult:
        (done,) = self._run(steps.partition, [self._words(steps)], changes)
        return done

    def _run(self, partition: Partition, calls: Sequence[Sequence[bytes]], changes: bool) -> Sequence[ScriptResult]:
        """Send `calls` of the script together, and return their results in the same order."""
        asked = time.monotonic()
        answers = self._answers(partition, calls, changes)
        answered = time.monotonic()
        done = [self._read(answer) for answer in answers]
        self.server_clock.hear(partition.number, done[-1].now / MICROSECONDS, asked, answered)
        to_wake = [each.now for each in done if each.must_wake]
        if to_wake:
            self._wake(partition, to_wake[0])
        return done

    def _answers(self, partition: Partition, calls: Sequence[Sequence[bytes]], changes: bool) -> list[Any]:
        answers = self._ask(partition, [[b"EVALSHA", _DIGEST, *words] for words in calls], changes)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            told = self._ask(partition, [[b"EVAL", _TEXT, *calls[at]] for at in unknown], changes)
            for at, answer in zip(unknown, told, strict=True):
                answers[at] = answer
        return answers

    def _words(self, steps: ScriptArgs) -> Sequence[bytes]:
        """What the script is called with."""
        partition = steps.partition
        return [
            b"%d" % (len(partition.keys) + len(steps.keys)),
            *partition.keys,
            *steps.keys,
            b"-1" if self.clock is None else microseconds(self.clock()),
            b"%d" % partition.number,
            b"%d" % self.remember,
            microseconds(self.lease),
            *steps.words,
        ]

    def _wake(self, partition: Partition, now: int) -> None:
        """Leave a word for those who wait. Without it they look too, only later: no reason to fail."""
        first = self.space.partitions[0]
        command = [b"ZADD", first.named(b"wakes"), b"NX", b"%d" % now, b"%d" % partition.number]
        with suppress(SettledError):
            self.servers.ask(first.slot, [command], changes=False)

    def _check_size(self, steps: ScriptArgs) -> None:
        if not self.takes(steps):
            raise TooLargeError(f"{sum(map(len, steps.words))} bytes: Redis takes {self.limit} in one request")

    def _ask(self, partition: Partition, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        """The answers to `commands`, which the replicas must have received too, if they change anything.

        Raises:
            Unknown: `changes`, and the answer was lost, or too few replicas have received it.
        """
        if not self.replicas or not changes:
            return self.servers.ask(partition.slot, commands, changes)
        wait = [b"WAIT", b"%d" % self.replicas, b"%d" % (self.patience * 500)]
        *answers, received = self.servers.ask(partition.slot, [*commands, wait], changes)
        if received < self.replicas and not any(isinstance(answer, NoScriptError) for answer in answers):
            raise OutcomeUnknownError(
                f"it was written, but only {received} of {self.replicas} replicas have received it"
            )
        return answers

    def _read(self, answer: Any) -> ScriptResult:
        first, *texts = cast("list[bytes]", answer if isinstance(answer, list) else [answer])
        said, *numbers = first.split()
        if said == b"conflict":
            return ScriptResult(now=int(numbers[1]), found=int(numbers[0]))
        if said == b"lost":
            return ScriptResult(now=int(numbers[0]), has_lost=True)
        now, moment, must_wake, lost, elsewhere = map(int, numbers)
        until = (now + round(self.lease * MICROSECONDS)) / MICROSECONDS
        posts = texts[lost : lost + elsewhere]
        return ScriptResult(
            now=now,
            deliveries=[delivery(text, until, self.space.epoch) for text in texts[lost + elsewhere :]],
            lost=[decoded(name) for name in texts[:lost]],
            pause=None if moment < 0 else (moment - now) / MICROSECONDS,
            elsewhere=list(zip(posts[::2], posts[1::2], strict=True)),
            must_wake=bool(must_wake),
        )
