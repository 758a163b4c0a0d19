"""A key space of several partitions keeps every guarantee for a single key, on one server and on a cluster.

Between keys of different partitions it guarantees less: no order, and a finish may be done in part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from settled.durable.ports import Capability, Write
from settled.errors import ConflictError, OutcomeUnknownError, UnavailableError
from settled.key import Key
from settled_redis.keyspace import KeySpace, Partition
from settled_redis.queue import RedisQueue
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient, ScriptResult
from tests.adapters.local import test_commit, test_timers
from tests.adapters.local.fixtures import ADA, LEASE, BackendEnv, dead_letter, ids, message, stored, timer
from tests.adapters.local.test_commit import TestACommit, TestADelete, TestScan
from tests.adapters.local.test_dead_letters import (
    test_dead_letters_are_added_after_others_are_removed,
    test_dead_letters_are_kept_whole_and_in_order,
)
from tests.adapters.local.test_leases import TestALease, TestAttempts, TestAZombie
from tests.adapters.local.test_order import TestOneKey
from tests.adapters.local.test_timers import TestAReplacedTimer, test_a_cancelled_timer_does_not_fire
from tests.adapters.local.test_waiting import (
    test_each_message_goes_to_one_of_many_receivers,
    test_receive_returns_a_timer_that_comes_due_while_it_waits,
    test_receive_wakes_when_a_message_becomes_ready,
    threads,
)
from tests.adapters.redis.conftest import Opener, env_on
from tests.emulators.redis_servers import Process

__all__ = [
    "TestACommit",
    "TestADelete",
    "TestALease",
    "TestAReplacedTimer",
    "TestAZombie",
    "TestAttempts",
    "TestOneKey",
    "TestScan",
    "test_a_cancelled_timer_does_not_fire",
    "test_dead_letters_are_added_after_others_are_removed",
    "test_dead_letters_are_kept_whole_and_in_order",
    "test_each_message_goes_to_one_of_many_receivers",
    "test_receive_returns_a_timer_that_comes_due_while_it_waits",
    "test_receive_wakes_when_a_message_becomes_ready",
    "threads",
]


SPACE = KeySpace.of("any prefix", 3, "any epoch")


@pytest.fixture(params=["redis", "cluster"])
def env(request: pytest.FixtureRequest, opener: Callable[[Process], Opener]) -> BackendEnv:
    return env_on(opener(request.getfixturevalue(request.param)), partitions=3)


def key_apart(other: Key) -> Key:
    """Return a key of another partition than `other`."""
    taken = SPACE.of_key(other)
    return next(key for n in count() if SPACE.of_key(key := Key("signup", f"apart{n}")) != taken)


class TestATimer(test_timers.TestATimer):
    def test_fires_during_a_backlog_of_another_key(self, env: BackendEnv) -> None:
        """T2: in whichever partition the timer is."""
        env.send(ADA, *(f"a{n}" for n in range(20)))
        env.timers.schedule(timer("t", env.clock.now, key_apart(ADA)))
        taken: list[str] = []
        for _ in range(6):
            held = env.take()
            taken += ids(held)
            env.queue.ack(held)
        assert "t" in taken

    def test_that_was_forwarded_but_not_removed_is_deduplicated(self, env: BackendEnv) -> None:
        """T2, X1: a process may fail between the two calls that forward a timer to another partition."""
        other = key_apart(ADA)
        env.timers.schedule(timer("t", env.clock.now, other, message_id="fired"))
        env.send(other, "fired")
        assert env.drain() == ["fired"]
        assert env.drain() == []

    def test_that_is_scheduled_anew_while_its_message_is_forwarded_fires_again(
        self, env: BackendEnv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """T4: only the timer that has fired is removed."""
        other, forward = key_apart(ADA), RedisQueue.forward
        id = next(id for n in count() if SPACE.of_timer(id := f"t{n}") != SPACE.of_key(other))

        def schedule_before(queue: RedisQueue, partition: Partition, result: ScriptResult) -> Sequence[Partition]:
            if result.other_partition:
                monkeypatch.undo()
                env.timers.schedule(timer(id, env.clock.now + 5, other, message_id="anew"))
            return forward(queue, partition, result)

        monkeypatch.setattr(RedisQueue, "forward", schedule_before)
        env.timers.schedule(timer(id, env.clock.now, other, message_id="fired"))
        assert env.drain() == ["fired"]
        env.clock.now += 5
        assert env.drain() == ["anew"]


class TestFinish(test_commit.TestFinish):
    def test_does_all_of_it(self, env: BackendEnv) -> None:
        """D4."""
        assert Capability.ATOMIC_FINISH not in env.backend.capabilities
        write = self.full_write(env)
        env.backend.finish(write)
        assert env.store.load(ADA) == write.stored
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "y")]
        env.clock.now += LEASE
        assert sorted(env.drain()) == ["b", "fired", "to ben"]

    def test_does_nothing_in_other_partitions_after_a_conflict(self, env: BackendEnv) -> None:
        """R9."""
        env.store.commit(ADA, stored(1), 0)
        write = Write(ADA, stored(1), 0, sends=tuple(message(Key("signup", f"k{n}"), "x") for n in range(9)))
        with pytest.raises(ConflictError):
            env.backend.finish(write)
        assert env.drain() == []

    def test_also_receives_from_other_partitions(self, env: BackendEnv) -> None:
        """F6: however long the backlog of its own partition is."""
        apart = key_apart(ADA)
        env.send(ADA, *(f"a{n}" for n in range(30)))
        held = env.take()
        env.send(apart, "other partition")
        for version in range(20):
            write = Write(ADA, stored(version + 1), version, acks=tuple(held))
            held = list(env.backend.finish_all([write], receive=1).deliveries)
            if ids(held) == ["other partition"]:
                return
        pytest.fail("it was never handed out")


class TestFinishAll:
    def writes(self) -> list[Write]:
        return [Write(key, stored(1), 0, sends=(message(key, f"to {key.instance}"),)) for key in (ADA, key_apart(ADA))]

    def test_finishes_each_write_in_its_partition(self, env: BackendEnv) -> None:
        finished = env.backend.finish_all(self.writes(), receive=5)
        assert finished.errors == {}
        assert len({*ids(finished.deliveries), *env.drain()}) == 2

    def test_reports_a_conflict_in_any_partition(self, env: BackendEnv) -> None:
        """R6."""
        ada, apart = self.writes()
        env.store.commit(apart.key, stored(1, "other"), 0)
        assert set(env.backend.finish_all([ada, apart]).errors) == {apart.key}
        assert env.store.load(ADA) == stored(1)

    def test_has_an_unknown_outcome_once_a_part_was_done(
        self, env: BackendEnv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R10: if it were unavailable, the caller would repeat it, and take its own commit for a conflict."""
        run_together, calls = ScriptClient.run_together, count(1)

        def fail_second(self: ScriptClient, parts: Sequence[ScriptArgs]) -> Sequence[ScriptResult]:
            if next(calls) == 2:
                raise UnavailableError("no server there")
            return run_together(self, parts)

        monkeypatch.setattr(ScriptClient, "run_together", fail_second)
        with pytest.raises(OutcomeUnknownError, match="perhaps only some of 2 writes were done: no server there"):
            env.backend.finish_all(self.writes())
        assert env.store.load(ADA) == stored(1)


def test_the_id_of_a_waiting_message_is_not_forgotten(redis: Process, opener: Callable[[Process], Opener]) -> None:
    """X1: however small `remember` is, and even if a later message was acknowledged before it."""
    queue = opener(redis)(remember=1, partitions=1).queue
    queue.send([message(ADA, id) for id in ("a", "b", "c")])
    held = queue.receive(3)
    queue.ack(held[2:])
    queue.send([message(ADA, "a"), message(ADA, "b")])
    queue.ack(held[:2])
    assert not queue.receive(3)
