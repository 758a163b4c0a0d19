"""What a commit promises (R3, R6, R8, R9, R10, D2), alone and within `finish`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from settled.durable.ports import Capability, Index, Stored, Write
from settled.errors import ConflictError
from settled.key import Key
from tests.adapters.local.fixtures import ADA, BEN, CEM, LEASE, Place, ids, letter, message, stored, timer, tombstone


class TestACommit:
    def test_is_read_as_it_was_written(self, place: Place) -> None:
        """D2, R8: by another handle too."""
        written = Stored(1, '{"value":"form"}', Index("halted", ("settled", "new\nline"), 1.5))
        place.store.commit(ADA, written, 0)
        assert place.store.load(ADA) == written
        assert place.again().store.load(ADA) == written
        assert place.store.load(BEN) is None

    def test_is_read_fresh_each_time(self, place: Place) -> None:
        """R8."""
        other = place.again()
        for version in range(1, 4):
            other.store.commit(ADA, stored(version, str(version)), version - 1)
            assert place.store.load(ADA) == stored(version, str(version))

    def test_changes_the_status_too(self, place: Place) -> None:
        place.store.commit(ADA, stored(1, status="active"), 0)
        place.store.commit(ADA, stored(2, status="done"), 1)
        assert place.store.load(ADA) == stored(2, status="done")

    @pytest.mark.parametrize("expected", [0, 1, 3])
    def test_of_another_version_is_refused_and_leaves_no_trace(self, place: Place, expected: int) -> None:
        """R6, R9."""
        place.store.commit(ADA, stored(1, "first"), 0, [letter(ADA, "x")])
        place.store.commit(ADA, stored(2, "second"), 1)
        with pytest.raises(ConflictError, match=f"signup/ada: expected version {expected}, found 2"):
            place.store.commit(ADA, stored(expected + 1, "third"), expected, [letter(ADA, "y")], 1)
        assert place.store.load(ADA) == stored(2, "second")
        assert list(place.store.dead_letters(ADA)) == [letter(ADA, "x")]

    def test_to_what_is_not_there_is_refused(self, place: Place) -> None:
        """R6."""
        with pytest.raises(ConflictError, match="expected version 1, found 0"):
            place.store.commit(ADA, stored(2), 1)
        assert place.store.load(ADA) is None

    def test_repeated_after_a_lost_answer_is_refused(self, place: Place) -> None:
        """R10."""
        place.store.commit(ADA, stored(1), 0)
        with pytest.raises(ConflictError):
            place.store.commit(ADA, stored(1), 0)

    @pytest.mark.parametrize("expected", [0, 1])
    def test_has_one_winner(self, place: Place, expected: int) -> None:
        """R6: creation included."""
        if expected:
            place.store.commit(ADA, stored(1), 0)

        def commits(name: str) -> bool:
            try:
                place.store.commit(ADA, stored(expected + 1, name), expected)
            except ConflictError:
                return False
            return True

        names = [f"committer {n}" for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            won = dict(zip(names, threads.map(commits, names), strict=True))
        (winner,) = [name for name in names if won[name]]
        assert place.store.load(ADA) == stored(expected + 1, winner)


class TestADelete:
    def test_leaves_the_version(self, place: Place) -> None:
        """R3: whoever remembers the old instance cannot commit over the next one."""
        place.store.commit(ADA, stored(1), 0, [letter(ADA, "x")])
        place.store.delete(ADA, tombstone(2), 1)
        assert place.store.load(ADA) == tombstone(2)
        assert list(place.store.dead_letters(ADA)) == []
        for expected in (0, 1):
            with pytest.raises(ConflictError):
                place.store.commit(ADA, stored(expected + 1), expected)
        place.store.commit(ADA, stored(3, "next"), 2)
        assert place.store.load(ADA) == stored(3, "next")

    def test_of_another_version_is_refused(self, place: Place) -> None:
        place.store.commit(ADA, stored(1), 0, [letter(ADA, "x")])
        with pytest.raises(ConflictError):
            place.store.delete(ADA, tombstone(3), 2)
        assert place.store.load(ADA) == stored(1)
        assert list(place.store.dead_letters(ADA)) == [letter(ADA, "x")]


class TestFinish:
    def everything(self, place: Place) -> Write:
        place.timers.schedule(timer("old", place.clock.now + 10))
        place.store.commit(ADA, stored(1), 0, [letter(ADA, "x")])
        place.send(ADA, "a", "b")
        return Write(
            ADA,
            stored(2, "after"),
            1,
            bury=(letter(ADA, "y"),),
            unbury=1,
            sends=(message(BEN, "to ben"),),
            timers=(timer("new", place.clock.now + 10, message_id="rings"),),
            cancels=("old",),
            acks=tuple(place.take()),
        )

    def test_does_all_of_it(self, place: Place) -> None:
        """R9, D4."""
        assert Capability.ATOMIC_FINISH in place.backend.capabilities
        write = self.everything(place)
        place.backend.finish(write)
        assert ids(place.take(5)) == ["to ben", "b"]
        assert place.store.load(ADA) == write.stored
        assert list(place.store.dead_letters(ADA)) == [letter(ADA, "y")]
        place.clock.now += LEASE
        assert sorted(place.drain()) == ["b", "rings", "to ben"]

    def test_does_nothing_if_another_commit_came_first(self, place: Place) -> None:
        """R6, R9."""
        write = self.everything(place)
        place.store.commit(ADA, stored(2, "other"), 1)
        with pytest.raises(ConflictError):
            place.backend.finish(write)
        assert place.store.load(ADA) == stored(2, "other")
        assert list(place.store.dead_letters(ADA)) == [letter(ADA, "x")]
        assert place.take() == []
        place.clock.now += LEASE
        assert place.drain() == ["a", "b", "old"]

    def test_without_a_state_commits_nothing(self, place: Place) -> None:
        place.send(ADA, "a")
        place.backend.finish(Write(ADA, sends=(message(BEN, "b"),), acks=tuple(place.take())))
        assert place.store.load(ADA) is None
        assert place.drain() == ["b"]

    def test_repeated_sends_and_timers_do_no_harm(self, place: Place) -> None:
        """X1: what an outbox owes may be performed again."""
        write = Write(ADA, sends=(message(BEN, "b"),), timers=(timer("t", place.clock.now),))
        place.backend.finish(write)
        place.backend.finish(write)
        assert sorted(place.drain()) == ["b", "t"]

    def test_a_timer_that_is_set_and_cancelled_is_cancelled(self, place: Place) -> None:
        """In the order of the write's fields."""
        place.backend.finish(Write(ADA, timers=(timer("t", place.clock.now),), cancels=("t",)))
        assert place.take() == []


class TestFinishAll:
    def test_does_each_by_itself_and_hands_out_what_is_next(self, place: Place) -> None:
        """R6, R9: one that is refused leaves no trace, and takes nothing with it."""
        assert Capability.JOINT_FINISH in place.backend.capabilities
        for key in (ADA, BEN, CEM):
            place.send(key, f"{key.instance}1", f"{key.instance}2")
        held = [place.take()[0] for _ in range(3)]
        place.store.commit(BEN, stored(1, "other"), 0)
        writes = [
            Write(each.message.key, stored(1), 0, (letter(BEN, "x"),), sends=(message(BEN, "to ben"),), acks=(each,))
            for each in held
        ]
        finished = place.backend.finish_all(writes, receive=10)
        assert {key: type(error) for key, error in finished.refused.items()} == {BEN: ConflictError}
        assert ids(finished.deliveries) == ["ada2", "cem2"]
        assert place.store.load(BEN) == stored(1, "other")
        assert list(place.store.dead_letters(BEN)) == []
        assert place.store.load(ADA) == place.store.load(CEM) == stored(1)
        place.queue.ack(finished.deliveries)
        place.clock.now += LEASE
        assert place.drain() == ["ben1", "ben2", "to ben"]

    def test_of_nothing_receives(self, place: Place) -> None:
        place.send(ADA, "a")
        assert ids(place.backend.finish_all([], receive=1).deliveries) == ["a"]


class TestScan:
    def test_lists_instances_in_the_order_of_their_keys(self, place: Place) -> None:
        assert Capability.SCAN in place.backend.capabilities
        keys = sorted(
            Key(machine, instance) for machine in ("a", "B", "a:1") for instance in ("1", "10", "2", "é", "\0")
        )
        for key in reversed(keys):
            place.store.commit(key, stored(1, "body"), 0)
        assert [key for key, _ in place.store.scan()] == keys
        pages = [place.store.scan(after=after, limit=4) for after in (None, keys[3], keys[7], keys[11], keys[14])]
        assert [key for page in pages for key, _ in page] == keys
        assert place.store.scan(limit=1)[0][1] == stored(1, "")

    def test_lists_what_is_asked_for(self, place: Place) -> None:
        for machine in ("order", "signup"):
            for instance, status in (("ada", "active"), ("ben", "done"), ("cem", "active")):
                place.store.commit(Key(machine, instance), stored(1, status=status), 0)
        place.store.delete(ADA, tombstone(2), 1)
        assert [str(key) for key, _ in place.store.scan(status="active")] == ["order/ada", "order/cem", "signup/cem"]
        assert [str(key) for key, _ in place.store.scan("signup")] == ["signup/ben", "signup/cem"]
        assert [str(key) for key, _ in place.store.scan("order", Key("order", "ada"), 1, "active")] == ["order/cem"]
        assert [str(key) for key, _ in place.store.scan("order", Key("a", "z"), 1)] == ["order/ada"]
        assert list(place.store.scan("order", Key("signup", "ada"))) == []
        assert list(place.store.scan(status="deleted")) == []
