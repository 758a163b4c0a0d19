"""Commits (R3, R6, R8, R9, R10, D2), alone and within `finish`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from settled.durable.ports import Capability, Index, Stored, Write
from settled.errors import ConflictError
from settled.key import Key
from tests.adapters.local.fixtures import (
    ADA,
    BEN,
    CEM,
    LEASE,
    BackendEnv,
    dead_letter,
    ids,
    message,
    stored,
    timer,
    tombstone,
)


class TestACommit:
    def test_is_read_as_it_was_written(self, env: BackendEnv) -> None:
        """D2, R8: by another backend object too."""
        written = Stored(1, '{"value":"form"}', Index("halted", ("settled", "new\nline"), 1.5))
        env.store.commit(ADA, written, 0)
        assert env.store.load(ADA) == written
        assert env.reopen().store.load(ADA) == written
        assert env.store.load(BEN) is None

    def test_is_read_fresh_each_time(self, env: BackendEnv) -> None:
        """R8."""
        other = env.reopen()
        for version in range(1, 4):
            other.store.commit(ADA, stored(version, str(version)), version - 1)
            assert env.store.load(ADA) == stored(version, str(version))

    def test_changes_the_status_too(self, env: BackendEnv) -> None:
        env.store.commit(ADA, stored(1, status="active"), 0)
        env.store.commit(ADA, stored(2, status="done"), 1)
        assert env.store.load(ADA) == stored(2, status="done")

    @pytest.mark.parametrize("expected", [0, 1, 3])
    def test_of_another_version_fails_and_changes_nothing(self, env: BackendEnv, expected: int) -> None:
        """R6, R9."""
        env.store.commit(ADA, stored(1, "first"), 0, [dead_letter(ADA, "x")])
        env.store.commit(ADA, stored(2, "second"), 1)
        with pytest.raises(ConflictError, match=f"signup/ada: expected version {expected}, found 2"):
            env.store.commit(ADA, stored(expected + 1, "third"), expected, [dead_letter(ADA, "y")], 1)
        assert env.store.load(ADA) == stored(2, "second")
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "x")]

    def test_to_a_key_without_a_record_fails(self, env: BackendEnv) -> None:
        """R6."""
        with pytest.raises(ConflictError, match="expected version 1, found 0"):
            env.store.commit(ADA, stored(2), 1)
        assert env.store.load(ADA) is None

    def test_repeated_after_a_lost_answer_fails(self, env: BackendEnv) -> None:
        """R10."""
        env.store.commit(ADA, stored(1), 0)
        with pytest.raises(ConflictError):
            env.store.commit(ADA, stored(1), 0)

    @pytest.mark.parametrize("expected", [0, 1])
    def test_has_one_winner(self, env: BackendEnv, expected: int) -> None:
        """R6: for creation too."""
        if expected:
            env.store.commit(ADA, stored(1), 0)

        def commits(name: str) -> bool:
            try:
                env.store.commit(ADA, stored(expected + 1, name), expected)
            except ConflictError:
                return False
            return True

        names = [f"committer {n}" for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            won = dict(zip(names, threads.map(commits, names), strict=True))
        (winner,) = [name for name in names if won[name]]
        assert env.store.load(ADA) == stored(expected + 1, winner)


class TestADelete:
    def test_continues_the_version(self, env: BackendEnv) -> None:
        """R3: a worker that loaded the old instance cannot commit over the next one."""
        env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "x")])
        env.store.delete(ADA, tombstone(2), 1)
        assert env.store.load(ADA) == tombstone(2)
        assert list(env.store.dead_letters(ADA)) == []
        for expected in (0, 1):
            with pytest.raises(ConflictError):
                env.store.commit(ADA, stored(expected + 1), expected)
        env.store.commit(ADA, stored(3, "next"), 2)
        assert env.store.load(ADA) == stored(3, "next")

    def test_of_another_version_fails(self, env: BackendEnv) -> None:
        env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "x")])
        with pytest.raises(ConflictError):
            env.store.delete(ADA, tombstone(3), 2)
        assert env.store.load(ADA) == stored(1)
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "x")]


class TestFinish:
    def full_write(self, env: BackendEnv) -> Write:
        env.timers.schedule(timer("old", env.clock.now + 10))
        env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "x")])
        env.send(ADA, "a", "b")
        return Write(
            ADA,
            stored(2, "after"),
            1,
            add_dead_letters=(dead_letter(ADA, "y"),),
            remove_dead_letters=1,
            sends=(message(BEN, "to ben"),),
            timers=(timer("new", env.clock.now + 10, message_id="fired"),),
            cancels=("old",),
            acks=tuple(env.take()),
        )

    def test_does_all_of_it(self, env: BackendEnv) -> None:
        """R9, D4."""
        assert Capability.ATOMIC_FINISH in env.backend.capabilities
        write = self.full_write(env)
        env.backend.finish(write)
        assert ids(env.take(5)) == ["to ben", "b"]
        assert env.store.load(ADA) == write.stored
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "y")]
        env.clock.now += LEASE
        assert sorted(env.drain()) == ["b", "fired", "to ben"]

    def test_does_nothing_if_another_commit_came_first(self, env: BackendEnv) -> None:
        """R6, R9."""
        write = self.full_write(env)
        env.store.commit(ADA, stored(2, "other"), 1)
        with pytest.raises(ConflictError):
            env.backend.finish(write)
        assert env.store.load(ADA) == stored(2, "other")
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "x")]
        assert env.take() == []
        env.clock.now += LEASE
        assert env.drain() == ["a", "b", "old"]

    def test_without_a_state_commits_nothing(self, env: BackendEnv) -> None:
        env.send(ADA, "a")
        env.backend.finish(Write(ADA, sends=(message(BEN, "b"),), acks=tuple(env.take())))
        assert env.store.load(ADA) is None
        assert env.drain() == ["b"]

    def test_repeated_sends_and_timers_are_deduplicated(self, env: BackendEnv) -> None:
        """X1: what is in an outbox may be sent again."""
        write = Write(ADA, sends=(message(BEN, "b"),), timers=(timer("t", env.clock.now),))
        env.backend.finish(write)
        env.backend.finish(write)
        assert sorted(env.drain()) == ["b", "t"]

    def test_a_timer_that_is_set_and_cancelled_is_cancelled(self, env: BackendEnv) -> None:
        """They are done in the order of the write's fields."""
        env.backend.finish(Write(ADA, timers=(timer("t", env.clock.now),), cancels=("t",)))
        assert env.take() == []


class TestFinishAll:
    def test_finishes_each_write_by_itself_and_delivers_the_next_messages(self, env: BackendEnv) -> None:
        """R6, R9: one that fails changes nothing, and does not affect the others."""
        assert Capability.JOINT_FINISH in env.backend.capabilities
        for key in (ADA, BEN, CEM):
            env.send(key, f"{key.instance}1", f"{key.instance}2")
        held = [env.take()[0] for _ in range(3)]
        env.store.commit(BEN, stored(1, "other"), 0)
        writes = [
            Write(
                each.message.key, stored(1), 0, (dead_letter(BEN, "x"),), sends=(message(BEN, "to ben"),), acks=(each,)
            )
            for each in held
        ]
        finished = env.backend.finish_all(writes, receive=10)
        assert {key: type(error) for key, error in finished.errors.items()} == {BEN: ConflictError}
        assert ids(finished.deliveries) == ["ada2", "cem2"]
        assert env.store.load(BEN) == stored(1, "other")
        assert list(env.store.dead_letters(BEN)) == []
        assert env.store.load(ADA) == env.store.load(CEM) == stored(1)
        env.queue.ack(finished.deliveries)
        env.clock.now += LEASE
        assert env.drain() == ["ben1", "ben2", "to ben"]

    def test_without_writes_receives(self, env: BackendEnv) -> None:
        env.send(ADA, "a")
        assert ids(env.backend.finish_all([], receive=1).deliveries) == ["a"]


class TestScan:
    def test_lists_instances_in_the_order_of_their_keys(self, env: BackendEnv) -> None:
        assert Capability.SCAN in env.backend.capabilities
        keys = sorted(
            Key(machine, instance) for machine in ("a", "B", "a:1") for instance in ("1", "10", "2", "é", "\0")
        )
        for key in reversed(keys):
            env.store.commit(key, stored(1, "body"), 0)
        assert [key for key, _ in env.store.scan()] == keys
        pages = [env.store.scan(after=after, limit=4) for after in (None, keys[3], keys[7], keys[11], keys[14])]
        assert [key for page in pages for key, _ in page] == keys
        assert env.store.scan(limit=1)[0][1] == stored(1, "")

    def test_filters_by_machine_status_and_position(self, env: BackendEnv) -> None:
        for machine in ("order", "signup"):
            for instance, status in (("ada", "active"), ("ben", "done"), ("cem", "active")):
                env.store.commit(Key(machine, instance), stored(1, status=status), 0)
        env.store.delete(ADA, tombstone(2), 1)
        assert [str(key) for key, _ in env.store.scan(status="active")] == ["order/ada", "order/cem", "signup/cem"]
        assert [str(key) for key, _ in env.store.scan("signup")] == ["signup/ben", "signup/cem"]
        assert [str(key) for key, _ in env.store.scan("order", Key("order", "ada"), 1, "active")] == ["order/cem"]
        assert [str(key) for key, _ in env.store.scan("order", Key("a", "z"), 1)] == ["order/ada"]
        assert list(env.store.scan("order", Key("signup", "ada"))) == []
        assert list(env.store.scan(status="deleted")) == []
