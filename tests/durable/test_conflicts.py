"""Concurrent workers and lost answers: one commit wins, and its worker recognizes it."""

from __future__ import annotations

import pytest

from settled import ConflictError, OutcomeUnknownError, TurnEnd, UnavailableError
from settled.durable import CommitConflictError
from settled.durable.commands import Finish, Load, Release, ReleaseReason, RunActors
from tests.durable.machines import add, appending, applied, signup, submitted, tell
from tests.support.virtual_world import LEASE, World


def loads(world: World) -> int:
    return len([command for command in world.commands if isinstance(command, Load)])


def started() -> World:
    world = World(appending())
    world.start()
    world.settle()
    return world


class TestBeforeAnythingWasPerformed:
    def test_the_turn_is_computed_again(self) -> None:
        world = started()
        world.send(add(1))
        world.fail_at(Finish, ConflictError("another"))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1]
        assert loads(world) == 2 + 1  # the one that looked for the turn's own commit

    def test_nothing_is_loaded_if_the_refusal_tells_the_record(self) -> None:
        world = started()
        world.send(add(1))
        found = world.backend.store.load(world.key())
        assert found is not None
        world.fail_at(Finish, CommitConflictError("another", found, world.now))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1]
        assert loads(world) == 2

    def test_the_messages_are_released_after_too_many_conflicts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("settled.durable.turn.MAX_CONFLICTS", 1)
        world = started()
        world.send(add(1))
        world.fail_at(Finish, ConflictError("another"))
        assert world.deliver() is TurnEnd.RELEASED
        (release,) = [command for command in world.commands if isinstance(command, Release)]
        assert (release.delay, release.reason) == (1.0, ReleaseReason.CONFLICTS)

    def test_what_the_winner_committed_is_not_undone(self) -> None:
        world = started()
        world.send(add(1))
        deliveries = world.backend.queue.receive(10)
        world.now += LEASE
        world.settle()
        world.send(add(2))
        world.settle()
        assert world.take(deliveries) is TurnEnd.LOST
        assert applied(world) == [1, 2]


class TestAfterTheClaim:
    def test_the_turn_is_left_to_the_worker_that_won(self) -> None:
        world = submitted(signup())
        world.fail_at(Finish, ConflictError("another"), nth=2)
        assert world.deliver() is TurnEnd.LOST
        assert not any(
            command.write.acks for command in world.commands if isinstance(command, Finish) and not command.write.stored
        )
        world.settle(until=5_000)
        assert world.value() == "waiting"


class TestACommitWhoseAnswerWasLost:
    @pytest.mark.parametrize(
        "error", [OutcomeUnknownError("lost"), ConflictError("a blind retry came second")], ids=["unknown", "conflict"]
    )
    def test_is_recognized_and_the_turn_continues(self, error: OutcomeUnknownError | ConflictError) -> None:
        world = submitted(signup())
        world.lose_answer_of(Finish, error)
        assert world.deliver() is TurnEnd.DONE
        assert world.value() == "waiting"
        assert world.performed("send_email") == [("signup/ada/a/1/1", 1)]

    @pytest.mark.parametrize(
        "error", [OutcomeUnknownError("lost"), ConflictError("a blind retry came second")], ids=["lost", "retry"]
    )
    def test_is_recognized_in_the_middle_of_a_turn(self, error: OutcomeUnknownError | ConflictError) -> None:
        world = submitted(signup())
        world.lose_answer_of(Finish, error, nth=2)
        assert world.deliver() is TurnEnd.DONE
        world.now += 10 * LEASE
        assert world.backend.queue.receive(10) == []

    def test_is_repeated_if_it_did_not_happen(self) -> None:
        world = started()
        world.send(add(1))
        world.fail_at(Finish, OutcomeUnknownError("lost"))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1]

    def test_acknowledges_its_deliveries(self) -> None:
        world = started()
        world.send(tell(1))
        world.lose_answer_of(Finish, OutcomeUnknownError("lost"))
        world.deliver()
        world.now += 10 * LEASE
        assert world.backend.queue.receive(10) == []
        assert world.performed("report") == [("list/ada/a/1/0", 1)]

    def test_fails_after_several_lost_answers_in_a_row(self) -> None:
        world = started()
        world.send(add(1))
        for _ in range(5):
            world.fail_at(Finish, OutcomeUnknownError("lost"))
        with pytest.raises(OutcomeUnknownError, match="5 writes in a row"):
            world.deliver()
        world.now += LEASE
        world.settle()
        assert applied(world) == [1]


class TestABackendThatCannotBeReached:
    def test_ends_the_turn_and_the_next_delivery_finds_everything(self) -> None:
        world = started()
        world.send(add(1))
        world.fail_at(Finish, UnavailableError("no route"))
        with pytest.raises(UnavailableError):
            world.deliver()
        world.now += LEASE
        world.settle()
        assert applied(world) == [1]


class TestAWorkerWhoseLeaseIsOver:
    """Another worker has continued in the meantime."""

    def test_cannot_commit(self) -> None:
        world = submitted(signup())
        deliveries = world.backend.queue.receive(10)
        world.now += LEASE
        world.settle(until=5_000)
        version = world.version()
        world.take(deliveries)
        assert (world.value(), world.version()) == ("waiting", version)

    def test_cannot_acknowledge_the_deliveries_of_another_worker(self) -> None:
        world = started()
        world.send(add(1))
        old = world.backend.queue.receive(10)
        world.now += LEASE
        new = world.backend.queue.receive(10)
        world.take(old)
        assert applied(world) == [1]
        assert world.take(new) is TurnEnd.DONE
        assert applied(world) == [1]

    def test_leaves_its_effect_to_another_worker_under_the_same_key(self) -> None:
        world = submitted(signup())
        world.crash_at(RunActors)
        world.deliver()
        world.now += LEASE
        world.settle(until=5_000)
        assert {key for key, _ in world.performed("send_email")} == {"signup/ada/a/1/1"}
        assert [attempt for _, attempt in world.performed("send_email")] == [2]
