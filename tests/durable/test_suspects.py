"""Code that ends its worker leaves no error: what is suspected is run alone, and each loss charged to what was run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from settled import Outcome, Policy, Retry, TurnEnd, UnavailableError, setup
from settled.durable import Event
from settled.durable.commands import (
    EndIsolation,
    Extend,
    Finish,
    Isolate,
    Load,
    LostWorker,
    PerformActions,
    Release,
    ReleaseReason,
    RunActors,
)
from settled.durable.messages import TimerFired
from settled.durable.record import Record, Watch
from settled.durable.record_json import record_to_stored
from settled.durable.window import EMPTY_WINDOW
from settled_runtime.record_cache import RecordCache
from tests.durable.machines import SUBMIT, add, appending, applied, nothing, signup, tell
from tests.support.virtual_world import LEASE, Crash, Hanging, World

POLICY = Policy(lease=timedelta(seconds=LEASE), max_attempts=3)


class Deadly:
    """An actor, action or guard that ends its worker the first `times` times."""

    def __init__(self, times: int = 1_000) -> None:
        self.left, self.calls = times, 0

    def __call__(self, *_arguments: Any) -> bool:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise Crash
        return True


def submitted(send_email: Any = nothing, **more: Any) -> World:
    world = World(signup(send_email, **more), policy=POLICY)
    world.start()
    world.settle(until=world.now)
    world.send(SUBMIT, id="submit")
    return world


def with_guard(guard: Any, record_cache: RecordCache | None = None) -> World:
    machine = setup(guards={"guard": guard}).machine(
        {
            "id": "m",
            "initial": "a",
            "states": {
                "a": {"tags": ["settled"], "on": {"GO": {"guard": "guard", "target": "b"}, "NOTE": {}}},
                "b": {"type": "final"},
            },
        }
    )
    world = World(machine, policy=POLICY, record_cache=record_cache)
    world.start()
    world.settle()
    return world


def acting(guard: Any, action: Any) -> World:
    machine = setup(guards={"guard": guard}, actions={"act": action}).machine(
        {
            "id": "m",
            "initial": "a",
            "states": {"a": {"tags": ["settled"], "on": {"GO": {"guard": "guard", "actions": "act"}}}},
        }
    )
    world = World(machine, policy=POLICY)
    world.start()
    world.settle()
    world.send("GO", id="go")
    return world


def lose_workers(world: World, times: int) -> None:
    """Let so many workers take the messages, each after the lease of the one before."""
    for _ in range(times):
        assert world.deliver() is None, "the worker was lost"
        world.now += LEASE


def isolations(world: World) -> list[Isolate]:
    return [command for command in world.commands if isinstance(command, Isolate)]


def lost(world: World) -> list[LostWorker]:
    return [each.lost for each in world.commands if isinstance(each, Finish) and each.lost is not None]


class TestAMessageThatIsReceivedWithoutProgress:
    def test_is_watched_from_the_third_receive_on(self) -> None:
        world = submitted(Deadly())
        lose_workers(world, 2)
        assert world.record().watch is None
        lose_workers(world, 1)
        assert world.record().watch == Watch("submit")
        assert isolations(world) == []

    def test_is_no_suspect_if_no_worker_was_lost_while_it_was_watched(self) -> None:
        world = submitted()
        for _ in range(9):  # a host that has no thread free, or a backend that fails
            world.backend.queue.release(world.backend.queue.receive(10))
        assert world.deliver() is TurnEnd.DONE
        assert world.value() == "waiting"
        assert isolations(world) == []
        assert world.record().watch is None

    def test_is_run_alone_once_a_worker_was_lost_while_it_was_watched(self) -> None:
        world = submitted(Deadly(3))
        lose_workers(world, 3)
        assert world.deliver() is TurnEnd.DONE
        assert world.value() == "waiting"
        assert isolations(world) == [Isolate(world.key(), "submit", LEASE, 0)]
        assert world.record().watch is None

    def test_is_never_halted_by_its_receives_alone(self) -> None:
        world = submitted()
        for _ in range(50):
            world.crash_at(Finish)
            world.deliver()
            world.now += LEASE
        assert world.record().failing is None
        world.settle(until=world.now)
        assert world.value() == "waiting"

    def test_that_fails_is_no_suspect(self) -> None:
        world = World(appending(), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=9))
        world.start()
        world.send(add(1, boom=True), id="poison")
        world.settle()
        assert world.outcome("poison") is Outcome.DEAD_LETTERED
        assert not any(isinstance(each, Finish) and each.record and each.record.watch for each in world.commands)

    def test_is_applied_by_itself_while_it_is_watched(self) -> None:
        world = World(appending(), policy=POLICY)
        world.start()
        world.settle()
        for n in range(3):
            world.send(add(n))
        for nth in (1, 1, 2):
            world.crash_at(Finish, nth=nth)
            world.deliver()
            world.now += LEASE
        assert world.record().watch == Watch("m2")
        world.before(EndIsolation, lambda: taken.append(applied(world)))
        taken: list[list[int]] = []
        world.settle()
        assert taken == [[0]]
        assert applied(world) == [0, 1, 2]

    def test_is_watched_although_its_record_is_cached(self) -> None:
        world = with_guard(Deadly(), RecordCache())
        assert world.take([world.stray(Event({"type": "GO"}), "go", attempt=9)]) is None
        assert world.record().watch == Watch("go")


class TestAnActorThatEndsItsWorkers:
    def test_fails_with_worker_lost_after_two_of_them_had_run_nothing_else(self) -> None:
        deadly = Deadly()
        world = submitted(deadly, retry=Retry(attempts=1))
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert deadly.calls == 3 + 2
        assert world.dead_letters() == []
        assert [each.losses for each in lost(world)] == [1, 2]
        assert lost(world)[0] == LostWorker("submit", "send_email", 1)

    def test_is_named_by_the_error(self) -> None:
        machine = setup(actors={"eat": Deadly()}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"invoke": {"src": "eat", "onDone": "b"}}, "b": {}}}
        )
        world = World(machine, policy=POLICY)
        world.start()
        world.settle()
        assert world.snapshot().error == {
            "name": "WorkerLost",
            "message": "2 workers were lost while running the actor 'eat' of m/ada and nothing else",
        }

    def test_is_attempted_alone_as_often_as_it_asks_for(self) -> None:
        deadly = Deadly()
        world = submitted(deadly, retry=Retry(attempts=4))
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert deadly.calls == 3 + 4

    def test_goes_on_like_any_other_if_it_ends_at_last(self) -> None:
        world = submitted(Deadly(4))
        world.settle(until=5_000)
        assert world.value() == "waiting"
        assert [each.losses for each in lost(world)] == [1]

    def test_is_not_run_again_if_it_must_not_be(self) -> None:
        deadly = Deadly()
        world = submitted(deadly, interruption="fail")
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert deadly.calls == 1

    def test_is_not_run_again_even_if_its_worker_ran_nothing_else(self) -> None:
        deadly = Deadly()
        world = submitted(deadly, interruption="fail")
        lose_workers(world, 1)
        put_watch(world, Watch("submit", "mail", is_alone=True))
        world.settle(until=5_000)
        assert (world.value(), deadly.calls) == ("failed", 1)

    def test_is_not_charged_with_workers_that_ran_other_turns_too(self) -> None:
        world = submitted(Deadly())
        lose_workers(world, 3)
        assert [actor.losses for actor in open_actors(world)] == [0]
        lose_workers(world, 2)
        assert [actor.losses for actor in open_actors(world)] == [1]

    def test_is_charged_by_the_commit_before_it_runs_again(self) -> None:
        world = submitted(Deadly())
        lose_workers(world, 4)
        assert world.record().watch == Watch("submit", "mail", is_alone=True)

    def test_does_not_end_with_the_turns_other_actors(self) -> None:
        """They are run one at a time, so the one that ends its workers is known."""
        deadly, other = Deadly(), Deadly(0)
        machine = setup(actors={"deadly": deadly, "other": other}).machine(
            {
                "id": "m",
                "initial": "idle",
                "states": {
                    "idle": {"tags": ["settled"], "on": {"GO": "both"}},
                    "both": {
                        "type": "parallel",
                        "states": {
                            name: {
                                "initial": "running",
                                "states": {
                                    "running": {"invoke": {"src": src, "onDone": "good", "onError": "bad"}},
                                    "good": {"tags": ["settled"]},
                                    "bad": {"tags": ["settled"]},
                                },
                            }
                            for name, src in (("first", "other"), ("second", "deadly"))
                        },
                    },
                },
            }
        )
        world = World(machine, policy=POLICY)
        world.start()
        world.send("GO")
        for _ in range(40):
            world.plans.clear()
            # Together they are both lost: the other one has not ended when the deadly one ends the worker.
            world.before(RunActors, lambda: deadly() if both_run(world) else None)
            world.deliver()
            world.now += LEASE
        assert world.value() == {"both": {"first": "good", "second": "bad"}}
        assert {each.src for each in lost(world)} == {"deadly"}

    def test_runs_beside_others_again_once_it_has_ended(self) -> None:
        world = submitted(Deadly(3))
        lose_workers(world, 3)
        world.commands.clear()
        world.deliver()
        kinds = [type(command) for command in world.commands if not isinstance(command, Finish | Extend)]
        assert kinds == [Load, Isolate, RunActors, EndIsolation]


def open_actors(world: World) -> Any:
    turn = world.record().turn
    assert turn is not None
    return turn.actors


def both_run(world: World) -> bool:
    return sum(actor.started_by is not None for actor in open_actors(world)) == 2


class TestOtherCodeThatEndsItsWorkers:
    def test_fails_its_message_and_halts_the_instance_after_the_last_attempt(self) -> None:
        guard = Deadly()
        world = with_guard(guard)
        world.send("GO", id="go")
        world.send("NOTE", id="note")
        world.settle()
        assert guard.calls == 3 + 3
        assert [each.losses for each in lost(world)] == [1, 2, 3]
        assert [each.message.id for each in world.dead_letters()] == ["go", "note"]
        assert "lost while it ran the machine's own functions alone" in world.dead_letters()[0].detail
        assert world.record().watch is None

    def test_is_taken_once_by_a_redrive_when_it_is_repaired(self) -> None:
        guard = Deadly(6)
        world = with_guard(guard)
        world.send("GO", id="go")
        world.settle()
        assert guard.left == 0
        world.redrive()
        world.settle()
        assert world.value() == "b"
        assert world.dead_letters() == []

    def test_is_told_from_the_actor_whose_result_it_takes(self) -> None:
        """The actor has ended by a commit of its own before the guard sees its result."""
        guard, work = Deadly(), Deadly(0)
        machine = setup(actors={"work": work}, guards={"guard": guard}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {"a": {"invoke": {"src": "work", "onDone": {"guard": "guard", "target": "b"}}}, "b": {}},
            }
        )
        world = World(machine, policy=POLICY)
        world.start()
        world.settle()
        assert world.record().halted is not None
        assert {each.src for each in lost(world)} == {None}
        assert work.calls < guard.calls

    def test_an_action_halts_the_instance_that_has_taken_its_message(self) -> None:
        action = Deadly()
        world = World(appending(action), policy=POLICY)
        world.start()
        world.settle()
        world.send(tell(1), id="tell")
        world.settle()
        assert applied(world) == [1]
        assert [each.message.id for each in world.dead_letters()] == ["tell"]
        action.left = 0
        world.redrive()
        world.settle()
        assert (applied(world), world.dead_letters(), world.record().outbox) == ([1], [], ())

    def test_an_action_is_charged_where_its_message_was_run_alone_before(self) -> None:
        guard, action = Deadly(3), Deadly()
        world = acting(guard, action)
        world.settle()
        assert world.record().halted is not None
        assert action.calls == 3

    def test_an_action_that_ends_leaves_no_note_where_its_message_was_run_alone(self) -> None:
        world = acting(Deadly(3), Deadly(0))
        world.settle()
        assert (world.record().watch, world.record().halted) == (None, None)

    def test_an_action_that_ends_at_last_leaves_no_note(self) -> None:
        world = World(appending(Deadly(4)), policy=POLICY)
        world.start()
        world.settle()
        world.send(tell(1), id="tell")
        world.settle()
        assert world.outcome("tell") is Outcome.TAKEN
        assert (world.record().watch, world.record().halted) == (None, None)


class TestAWorkerThatIsNotLost:
    """It removes its note, so nothing is charged."""

    def suspect(self, send_email: Any = None, **more: Any) -> World:
        deadly = Deadly(3)

        def mail(input: Any, call: Any) -> None:
            deadly()
            if send_email is not None:
                send_email()

        world = submitted(mail, **more)
        lose_workers(world, 3)
        return world

    def test_releases_what_it_cannot_run_alone_for_a_lease(self) -> None:
        world = self.suspect()
        world.can_isolate = False
        world.commands.clear()
        assert world.deliver() is TurnEnd.RELEASED
        (release,) = [each for each in world.commands if isinstance(each, Release)]
        assert (release.delay, release.reason) == (LEASE, ReleaseReason.SUSPECT)
        world.now += LEASE
        world.can_isolate = True
        world.deliver()
        assert [each.seconds for each in isolations(world)] == [LEASE, 2 * LEASE], "it waits longer each time"
        assert world.value() == "waiting"

    def test_whose_actor_fails_removes_it(self) -> None:
        def fail() -> None:
            raise ConnectionError

        world = self.suspect(fail, retry=Retry(attempts=9))
        assert world.deliver() is TurnEnd.RELEASED
        assert world.record().watch is None
        assert [actor.losses for actor in open_actors(world)] == [0]

    def test_whose_guard_fails_removes_it(self) -> None:
        deadly = Deadly(3)

        def guard(_a: Any) -> bool:
            deadly()
            raise ValueError("a bug")

        world = with_guard(guard)
        world.send("GO")
        lose_workers(world, 3)
        assert world.deliver() is TurnEnd.RELEASED
        assert world.record().watch is None
        assert lost(world) == []

    @pytest.mark.parametrize("command", [RunActors, PerformActions])
    def test_whose_backend_fails_removes_it_if_it_can(self, command: type[Any]) -> None:
        world = self.suspect()
        world.fail_at(Finish, UnavailableError("no route"), nth=3)
        with pytest.raises(UnavailableError):
            world.deliver()
        assert world.record().watch is None

    def test_ends_its_isolation_after_a_lease_and_runs_the_actor_beside_others(self) -> None:
        def hang() -> None:
            raise Hanging

        world = self.suspect(hang)
        world.before(EndIsolation, lambda: seen.append((world.now, world.record().watch)))
        seen: list[Any] = []
        began = world.now
        with pytest.raises(AssertionError, match="needs a timer"):
            world.deliver()
        assert seen == [(began + LEASE, Watch("submit"))]

    def test_leaves_a_note_of_another_message_alone(self) -> None:
        world = submitted()
        put_watch(world, Watch("gone", is_alone=True))
        world.settle(until=world.now)
        assert world.value() == "waiting"
        assert (isolations(world), lost(world), world.record().watch) == ([], [], None)


class TestWhatIsNotWatched:
    def watched(self, world: World) -> set[str]:
        records = [each.record for each in world.commands if isinstance(each, Finish) and each.record]
        return {record.watch.message_id for record in records if record.watch is not None}

    def receive_in_vain(self, world: World, times: int = 9) -> None:
        for _ in range(times):
            world.backend.queue.release(world.backend.queue.receive(10))

    def test_a_message_behind_the_first(self) -> None:
        world = World(signup(), policy=POLICY)
        world.start(id="start")
        world.send(SUBMIT, id="submit")
        self.receive_in_vain(world)
        world.deliver()
        assert world.value() == "waiting"
        assert self.watched(world) == {"start"}

    def test_a_message_that_was_taken(self) -> None:
        world = World(appending(), policy=POLICY)
        world.start()
        world.send(add(1), id="add")
        world.settle()
        version = world.version()
        world.take([world.stray(Event(add(1)), "add", attempt=9)])
        assert world.version() == version

    def test_a_stale_message_any_longer_once_it_was_dropped(self) -> None:
        world = submitted()
        world.take([world.stray(TimerFired("gone", 0), "settled:gone", attempt=9)])
        assert self.watched(world) == {"settled:gone"}
        assert world.record().watch is None


def put_watch(world: World, watch: Watch) -> None:
    """Let the record have the note `watch`, as a lost worker left it."""
    stored = world.backend.store.load(world.key())
    assert stored is not None
    changed = record_to_stored(world.machine, evolve(world.record(), watch=watch), stored.version + 1, world.now)
    world.backend.store.commit(world.key(), changed, stored.version)


def test_a_note_may_use_the_room_of_a_large_record() -> None:
    record = Record(window=EMPTY_WINDOW, halted=None, taken_dead_letters=("x" * 70_000,))
    large = len(record_to_stored(signup(), record, 1, 0.0).body)
    assert len(record_to_stored(signup(), evolve(record, watch=Watch("m")), 1, 0.0).body) < large
