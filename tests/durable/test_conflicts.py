"""Two workers, and answers that were lost: one commit wins, and it is known whose it was."""

from __future__ import annotations

import pytest

from settled import ConflictError, OutcomeUnknownError, TurnEnd, UnavailableError
from settled.durable.commands import Finish, Load, RunActors
from tests.durable.machines import add, appending, applied, signup, submitted, tell
from tests.support.virtual_world import LEASE, World


def started() -> World:
    world = World(appending())
    world.start()
    world.settle()
    return world


class TestBeforeAnythingWasPerformed:
    def test_the_turn_is_computed_afresh(self) -> None:
        world = started()
        world.send(add(1))
        world.fail_at(Finish, ConflictError("another"))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1]
        assert len([command for command in world.commands if isinstance(command, Load)]) == 2 + 2

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
    def test_another_worker_owns_the_turn_and_this_one_drops_it(self) -> None:
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
    def test_is_recognised_and_gone_on_with(self, error: OutcomeUnknownError | ConflictError) -> None:
        world = submitted(signup())
        world.lose_answer_of(Finish, error)
        assert world.deliver() is TurnEnd.DONE
        assert world.value() == "waiting"
        assert world.performed("send_email") == [("signup/ada/a/1/1", 1)]

    @pytest.mark.parametrize(
        "error", [OutcomeUnknownError("lost"), ConflictError("a blind retry came second")], ids=["lost", "retry"]
    )
    def test_is_recognised_in_the_middle_of_a_turn_too(self, error: OutcomeUnknownError | ConflictError) -> None:
        world = submitted(signup())
        world.lose_answer_of(Finish, error, nth=2)
        assert world.deliver() is TurnEnd.DONE
        world.now += 10 * LEASE
        assert world.backend.queue.receive(10) == []

    def test_that_did_not_happen_is_made_again(self) -> None:
        world = started()
        world.send(add(1))
        world.fail_at(Finish, OutcomeUnknownError("lost"))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1]

    def test_acknowledges_what_it_had_to(self) -> None:
        world = started()
        world.send(tell(1))
        world.lose_answer_of(Finish, OutcomeUnknownError("lost"))
        world.deliver()
        world.now += 10 * LEASE
        assert world.backend.queue.receive(10) == []
        assert world.performed("report") == [("list/ada/a/1/0", 1)]

    def test_gives_up_when_no_answer_ever_comes(self) -> None:
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


class TestAZombie:
    """It wakes after its lease, and others have gone on."""

    def test_its_commit_is_refused(self) -> None:
        world = submitted(signup())
        deliveries = world.backend.queue.receive(10)
        world.now += LEASE
        world.settle(until=5_000)
        version = world.version()
        world.take(deliveries)
        assert (world.value(), world.version()) == ("waiting", version)

    def test_its_acknowledgement_takes_nothing_from_the_new_holder(self) -> None:
        world = started()
        world.send(add(1))
        old = world.backend.queue.receive(10)
        world.now += LEASE
        new = world.backend.queue.receive(10)
        world.take(old)
        assert applied(world) == [1]
        assert world.take(new) is TurnEnd.DONE
        assert applied(world) == [1]

    def test_that_had_claimed_runs_its_effect_under_the_old_key_and_commits_nothing(self) -> None:
        world = submitted(signup())
        world.crash_at(RunActors)
        world.deliver()
        world.now += LEASE
        world.settle(until=5_000)
        assert {key for key, _ in world.performed("send_email")} == {"signup/ada/a/1/1"}
        assert [attempt for _, attempt in world.performed("send_email")] == [2]
