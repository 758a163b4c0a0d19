"""Turns that are open for long, where the queue forgets what waits in it: they wait, and keep what comes, elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from settled import Call, Key, Machine, Outcome, Policy, Retry, TooLargeError, actor, assign, setup
from settled.chart.retry import Backoff
from settled.durable import Event, Traits, record_from_json
from settled.durable.commands import Finish, LoadDeadLetters, PerformActions, RunActors
from settled.durable.messages import SenderPosition, TimerFired
from settled.durable.ports import POSTPONED
from settled.durable.record_json import record_from_tombstone, record_to_stored
from settled_conformance.harnesses.local import ForgetfulQueue
from settled_local.memory.queue import MemoryQueue, MessageGroup
from tests.durable.test_full_stores import FullStore
from tests.durable.test_overdue import lose_all_but_the_store, woken
from tests.durable.test_recover import dropped, letters_of, recovered
from tests.support.example_records import KEY, MACHINE, SUSPENDED
from tests.support.virtual_world import LEASE, World

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
RETENTION = timedelta(days=14)


def forgetful(world: World, retention: timedelta = RETENTION) -> World:
    """Return `world` with a queue that forgets a message after `retention`, as SQS' does."""
    world.traits = Traits(retention=retention.total_seconds())
    memory = world.backend.queue
    queue = ForgetfulQueue(memory, memory, lambda: world.now, retention)
    setattr(world.backend, "queue", queue)  # noqa: B010 (a wrapper is no `MemoryQueue`)
    return world


def order(
    is_in_stock: Callable[[], bool],
    pause: timedelta = timedelta(minutes=30),
    name: str = "pause",
    print_refusal: Callable[[Any], None] = lambda a: None,
) -> Machine[Any]:
    """Return an order that asks the warehouse again after each `pause`, and takes notes once it was shipped."""

    def take(a: Any) -> list[Any]:
        if a.event.get("bad"):
            raise ValueError("a bad note")
        return [*a.context["notes"], a.event["n"]]

    return setup(
        actions={"take": assign(notes=take), "send_invoice": lambda a: None, "print_refusal": print_refusal},
        actors={"ask_warehouse": lambda input, call: is_in_stock()},
        guards={"in_stock": lambda a: a.event["output"]},
        delays={name: pause, "patience": timedelta(days=25)},
    ).machine(
        {
            "id": "order",
            "context": {"notes": []},
            "initial": "open",
            "states": {
                "open": {"tags": ["settled"], "on": {"BUY": "buying", "NOTE": {"actions": "take"}}},
                "buying": {
                    "initial": "asking",
                    "after": {"patience": "given_up"},
                    "states": {
                        "asking": {
                            "invoke": {
                                "src": "ask_warehouse",
                                "onDone": [
                                    {"guard": "in_stock", "target": "#order.shipped"},
                                    {"target": "pausing"},
                                ],
                            }
                        },
                        "pausing": {"after": {name: "asking"}},
                    },
                },
                "shipped": {
                    "tags": ["settled"],
                    "entry": "send_invoice",
                    "on": {"NOTE": {"actions": "take"}, "BUY": "buying"},
                },
                "given_up": {"tags": ["settled"], "entry": "print_refusal", "on": {"NOTE": {"actions": "take"}}},
            },
        }
    )


def bought(machine: Machine[Any], policy: Policy | None = None) -> World:
    """Return a forgetful world in which an order was bought, and its turn is open."""
    world = World(machine) if policy is None else World(machine, policy=policy)
    forgetful(world)
    world.start()
    world.send("BUY", id="buy")
    world.settle(until=world.now)
    return world


def note(world: World, n: int, **more: Any) -> str:
    return world.send({"type": "NOTE", "n": n, **more}, id=f"note{n}")


def available_after(days: float, pause: timedelta = timedelta(hours=12)) -> World:
    """Return a world in which the warehouse has what was bought after so many days."""
    worlds: list[World] = []
    worlds.append(bought(order(lambda: bool(worlds) and worlds[0].now >= 1_000 + days * DAY, pause)))
    return worlds[0]


def waiting_in_queue(world: World) -> list[str]:
    """Return the ids of the messages that wait in the queue."""
    memory: MemoryQueue = vars(world.backend.queue)["_memory"]
    groups: dict[Key, MessageGroup] = vars(memory)["_groups"]
    return [waiting.message.id for group in groups.values() for waiting in group.waiting.values()]


class TestAnOrderThatWaitsForTheWarehouseForTwentyDays:
    """It asks every half hour, or every half day to save time; the queue keeps messages for 14 days."""

    def test_takes_what_came_meanwhile_in_order_afterwards(self) -> None:
        world = available_after(20, pause=timedelta(minutes=30))
        for day in range(1, 20):
            world.settle(until=day * DAY)
            world.now = day * DAY
            note(world, day)
        world.settle(until=30 * DAY)
        assert world.value() == "shipped"
        assert world.snapshot().context["notes"] == list(range(1, 20))
        assert world.dead_letters() == []
        assert len(world.performed("send_invoice")) == 1

    def test_leaves_nothing_in_the_queue(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        world.now = DAY
        note(world, 1)
        world.settle(until=world.now)
        assert waiting_in_queue(world) == []

    def test_takes_what_comes_later_after_what_came_before(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        note(world, 1)
        world.settle(until=20 * DAY)
        world.now = 20 * DAY + HOUR  # the timer is due, and so is everything else
        note(world, 2)
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1, 2]

    def test_has_no_outcome_for_them_until_then(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        id = note(world, 1)
        world.settle(until=2 * DAY)
        assert world.outcome(id) is Outcome.POSTPONED
        world.settle(until=30 * DAY)
        assert world.outcome(id) is Outcome.TAKEN

    def test_shows_them_among_the_dead_letters_until_then(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        note(world, 1)
        world.settle(until=2 * DAY)
        (letter,) = world.dead_letters()
        assert (letter.reason, letter.detail) == (POSTPONED, "it waits for the turn of buy")


class TestATurnIsSuspended:
    def test_once_it_will_have_been_open_for_longer_than_the_policy_says(self) -> None:
        world = available_after(20, pause=timedelta(minutes=30))
        assert waiting_in_queue(world) == ["buy"]  # for the first pause
        world.settle(until=1_000 + 31 * MINUTE)
        world.now = 1_000 + 31 * MINUTE
        assert waiting_in_queue(world) == ["buy"]  # for the second one
        world.settle(until=1_000 + 61 * MINUTE)
        assert waiting_in_queue(world) == []

    def test_at_once_if_it_waits_for_that_long(self) -> None:
        world = bought(order(lambda: False, pause=timedelta(hours=2)))
        assert waiting_in_queue(world) == []
        assert world.record().suspension is not None

    def test_after_half_the_retention_at_the_latest(self) -> None:
        world = World(order(lambda: False), policy=Policy(suspend_after=timedelta(days=1)))
        forgetful(world, timedelta(minutes=50))
        world.start()
        world.send("BUY")
        world.settle(until=world.now)
        assert world.record().suspension is not None

    def test_only_where_the_queue_forgets(self) -> None:
        world = World(order(lambda: False, pause=timedelta(days=20)))
        world.start()
        world.send("BUY", id="buy")
        world.settle(until=10 * DAY)
        turn = world.record().turn
        assert turn is not None and turn.suspension is None

    def test_between_the_attempts_of_an_actor(self) -> None:
        attempts: list[float] = []
        worlds: list[World] = []

        def fail(input: Any, call: Call) -> None:
            attempts.append(worlds[0].now)
            raise OSError("no route to the warehouse")

        pause = timedelta(days=10)
        retry = Retry(attempts=3, backoff=Backoff(first=pause, max_wait=pause, factor=1))
        machine = setup(actors={"ask": actor(fail, retry=retry)}).machine(
            {
                "id": "order",
                "initial": "open",
                "states": {
                    "open": {"tags": ["settled"], "on": {"BUY": "asking"}},
                    "asking": {"invoke": {"src": "ask", "onDone": "open", "onError": "failed"}},
                    "failed": {"tags": ["settled"]},
                },
            }
        )
        worlds.append(world := forgetful(World(machine)))
        world.start()
        world.send("BUY")
        world.settle(until=world.now)
        assert waiting_in_queue(world) == []
        world.settle(until=30 * DAY)
        assert attempts == [1_000, 1_000 + 10 * DAY, 1_000 + 20 * DAY]
        assert world.value() == "failed"


class TestASuspendedTurnGoesOn:
    def test_at_the_earliest_of_what_it_waits_for(self) -> None:
        world = bought(order(lambda: False, pause=timedelta(days=40)))
        world.settle(until=1_000 + 25 * DAY)
        assert world.value() == "given_up"

    def test_without_the_message_that_was_acknowledged(self) -> None:
        world = available_after(20)
        world.settle(until=2 * DAY)
        assert world.take([evolve(world.stray(Event({"type": "BUY"}), "buy"))]) is not None
        assert world.dead_letters() == []
        world.settle(until=30 * DAY)
        assert world.outcome("buy") is Outcome.TAKEN

    def test_in_a_worker_that_gets_another_message_once_it_is_due(self) -> None:
        world = bought(order(lambda: False, pause=timedelta(days=40)))
        world.now = 1_000 + 25 * DAY
        world.take([world.stray(Event({"type": "NOTE", "n": 1}), "late")])
        assert world.value() == "given_up"
        assert world.snapshot().context["notes"] == [1]

    def test_after_a_crash_at_any_command(self) -> None:
        for nth in range(1, 30):
            world = available_after(20)
            world.settle(until=DAY)
            note(world, 1)
            note(world, 2)
            world.settle(until=20 * DAY)
            world.crash_at(Finish, nth=nth)
            world.settle(until=30 * DAY)
            assert world.snapshot().context["notes"] == [1, 2]
            assert len(set(world.performed("send_invoice"))) == 1

    def test_when_a_deploy_has_shortened_the_wait_and_a_message_comes(self) -> None:
        world = bought(order(lambda: False, pause=timedelta(days=20)))
        suspension = world.record().suspension
        assert suspension is not None and suspension.due == 1_000 + 20 * DAY
        world.machine = order(lambda: True, pause=timedelta(days=2), name="short pause")
        world.settle(until=DAY)
        world.now = DAY
        note(world, 1)
        world.settle(until=world.now)
        world.settle(until=4 * DAY)
        assert world.value() == "shipped"
        assert world.snapshot().context["notes"] == [1]

        cancelled = [id for each in world.commands if isinstance(each, Finish) for id in each.write.cancels]
        assert suspension.token in cancelled

    def test_and_performs_its_actions_though_the_worker_that_closed_it_is_lost(self) -> None:
        world = available_after(20)
        world.settle(until=20 * DAY)
        world.crash_at(PerformActions)
        world.settle(until=30 * DAY)
        assert len(world.performed("send_invoice")) == 1

    def test_and_halts_if_its_action_fails_instead_of_skipping_what_has_brought_the_worker(self) -> None:
        def fail(a: Any) -> None:
            raise OSError("no printer")

        policy = Policy(max_attempts=1, failed_events="skip", lease=timedelta(seconds=LEASE))
        world = bought(order(lambda: False, pause=timedelta(days=40), print_refusal=fail), policy)
        world.now = 1_000 + 25 * DAY
        note(world, 1)
        world.deliver(limit=1)
        assert world.record().halted is not None
        world.settle(until=world.now + HOUR)
        world.machine = order(lambda: False, pause=timedelta(days=40))
        world.redrive()
        world.settle(until=world.now + HOUR)
        assert world.snapshot().context["notes"] == [1]

    def test_not_before_it_is_due_if_its_timer_comes_early(self) -> None:
        world = bought(order(lambda: False, pause=timedelta(days=20)))
        suspension = world.record().suspension
        assert suspension is not None
        for times_early in range(3):
            id = f"settled:early{times_early}"
            world.take([world.stray(TimerFired(suspension.token, times_early), id)])
            found = world.record().suspension
            assert found is not None and found.early == times_early + 1
        world.take([world.stray(TimerFired(suspension.token, 0), "settled:again")])
        assert world.record().suspension == evolve(suspension, early=3)
        assert world.dead_letters() == []


class TestWhatWasPostponed:
    def test_is_postponed_once_however_often_it_is_sent(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        for _ in range(3):
            world.take([world.stray(Event({"type": "NOTE", "n": 1}), "note1")])
        assert len(world.dead_letters()) == 1
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1]

    def test_of_a_machine_is_taken_once_though_its_id_was_forgotten(self) -> None:
        """A sender that crashes may send again, and the record knows it by the step that sent it."""
        world = available_after(20)
        world.policy = evolve(world.policy, window=2)
        world.settle(until=DAY)
        sender = Key("basket", "7")

        def deliver(n: int) -> None:
            content = Event({"type": "NOTE", "n": n}, SenderPosition(sender, "n0.1", n, 0))
            world.take([world.stray(content, f"settled:{n}")])

        for n in (1, 2, 3, 4, 1):
            deliver(n)
        assert len(world.dead_letters()) == 5
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1, 2, 3, 4]

    def test_is_loaded_once_however_much_it_is(self) -> None:
        world = available_after(20, pause=timedelta(days=20))
        for n in range(1, 31):
            note(world, n)
        world.settle(until=DAY)
        world.commands.clear()
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == list(range(1, 31))
        assert len([each for each in world.commands if isinstance(each, LoadDeadLetters)]) == 1

    def test_is_judged_when_it_is_taken(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        id = world.send("xstate.stop")
        world.settle(until=2 * DAY)
        assert world.outcome(id) is Outcome.POSTPONED
        world.settle(until=30 * DAY)
        assert world.outcome(id) is Outcome.INVALID
        assert [letter.message.id for letter in world.dead_letters()] == [id]

    def test_leaves_older_dead_letters_where_they_were(self) -> None:
        worlds: list[World] = []
        machine = order(lambda: worlds[0].now >= 20 * DAY)
        policy = Policy(max_attempts=1, failed_events="skip", lease=timedelta(seconds=LEASE))
        world = forgetful(World(machine, policy=policy))
        worlds.append(world)
        world.start()
        bad = [note(world, n, bad=True) for n in (1, 2)]
        world.send("BUY")
        world.settle(until=DAY)
        note(world, 3)
        bad.append(note(world, 4, bad=True))
        note(world, 5)
        world.settle(until=2 * DAY)
        assert len(world.dead_letters()) == 5
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [3, 5]
        assert [letter.message.id for letter in world.dead_letters()] == bad
        assert world.record().postponed is None

    def test_waits_for_the_operator_of_an_instance_that_is_halted(self) -> None:
        def is_in_stock() -> bool:
            return world.now >= 20 * DAY

        machine = order(is_in_stock)
        policy = Policy(max_attempts=1, lease=timedelta(seconds=LEASE))
        world = forgetful(World(machine, policy=policy))
        world.start()
        world.send("BUY", id="buy")
        world.settle(until=DAY)
        note(world, 1)
        note(world, 2, bad=True)
        note(world, 3)
        world.settle(until=30 * DAY)
        record = world.record()
        assert record.halted is not None and record.postponed is None
        assert [world.outcome(f"note{n}") for n in (1, 2, 3)] == [
            Outcome.TAKEN,
            Outcome.DEAD_LETTERED,
            Outcome.DEAD_LETTERED,
        ]
        assert [letter.message.id for letter in world.dead_letters()] == ["note2", "note3"]

    def test_belongs_to_the_instance_and_is_deleted_with_it(self) -> None:
        world = available_after(20)
        world.settle(until=DAY)
        id = note(world, 1)
        world.settle(until=2 * DAY)
        world.delete()
        assert world.dead_letters() == []
        world.settle(until=30 * DAY)  # the timer finds nothing to wake
        stored = world.backend.store.load(world.key())
        assert stored is not None and stored.is_deleted
        window = record_from_tombstone(world.key(), stored.body).window
        assert window.outcome_of_id(id) is Outcome.DEAD_LETTERED

    def test_is_taken_once_if_it_is_redriven_as_well(self) -> None:
        world = available_after(20, pause=timedelta(days=20))
        world.settle(until=DAY)
        note(world, 1)
        world.settle(until=2 * DAY)
        assert world.redrive() == 1
        note(world, 2)
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1, 2]
        assert world.dead_letters() == []


def test_an_instance_that_is_halted_while_its_turn_is_suspended_goes_on_after_a_redrive() -> None:
    world = available_after(20, pause=timedelta(days=20))
    world.policy = evolve(world.policy, max_attempts=1)
    note(world, 1)
    world.fail_at(Finish, TooLargeError("the table is full"))
    world.settle(until=world.now)
    assert world.record().halted is not None
    world.redrive()
    world.settle(until=world.now)
    note(world, 2)
    world.settle(until=30 * DAY)
    assert world.value() == "shipped"
    assert world.snapshot().context["notes"] == [1, 2]
    assert world.dead_letters() == []


def test_the_record_of_a_suspended_turn_comes_back_unchanged() -> None:
    stored = record_to_stored(MACHINE, SUSPENDED, 1, 0.0)
    found = record_from_json(MACHINE, KEY, stored.body)
    assert (found.turn, found.postponed) == (SUSPENDED.turn, 0)


@pytest.mark.parametrize("crash", [Finish, RunActors])
def test_a_turn_is_suspended_again_after_each_time_it_goes_on(crash: type[Any]) -> None:
    world = available_after(3)
    world.settle(until=DAY)
    dues = {world.record().suspension}
    world.crash_at(crash)
    world.settle(until=DAY + 4 * HOUR)
    dues.add(world.record().suspension)
    assert len(dues) == 2 and None not in dues
    world.settle(until=5 * DAY)
    assert world.value() == "shipped"


class TestWhatTheQueueGaveUpWhileATurnWasSuspended:
    def test_is_recovered_at_once_because_no_worker_has_a_lease(self) -> None:
        world = available_after(20)
        assert recovered(world, [dropped(world, {"type": "NOTE", "n": 1}, "note1")]).added == ("note1",)
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1]

    def test_is_taken_after_what_was_postponed_before_and_before_what_was_postponed_since(self) -> None:
        world = available_after(20)
        world.policy = evolve(world.policy, max_attempts=1, failed_events="skip")
        for n in (1, 3):
            world.settle(until=n * DAY)
            world.now = n * DAY
            note(world, n)
        world.settle(until=world.now)
        letters = [dropped(world, {"type": "NOTE", "n": n}, f"note{n}", at=n * DAY) for n in (2, 4)]
        recovered(world, letters[:1])
        assert letters_of(world) == ["note1", "note2", "note3"]
        recovered(world, letters)
        world.settle(until=30 * DAY)
        assert world.snapshot().context["notes"] == [1, 2, 3, 4]
        assert world.dead_letters() == []

    def test_wakes_the_turn_though_it_was_postponed_as_its_timer_may_not_be_scheduled(self) -> None:
        world = available_after(20, pause=timedelta(days=20))
        note(world, 1)
        world.settle(until=world.now)
        lose_all_but_the_store(world)
        world.now += 20 * DAY
        assert recovered(world, [dropped(world, {"type": "NOTE", "n": 1}, "note1")]).known == ("note1",)
        world.settle(until=world.now)
        assert world.snapshot().context["notes"] == [1]


class TestWhatIsOverdueOfASuspendedTurn:
    def test_is_the_turn_once_its_timer_is_lost(self) -> None:
        world = available_after(20, pause=timedelta(days=20))
        note(world, 1)
        world.settle(until=world.now)
        lose_all_but_the_store(world)
        world.now += 20 * DAY + HOUR - 1
        assert woken(world) == []
        world.now += 2
        assert woken(world) == ["the open turn of buy"]
        woken(world)
        world.settle(until=world.now)
        assert world.snapshot().context["notes"] == [1]
        assert len(world.performed("send_invoice")) == 1

    def test_is_what_was_postponed_once_the_turn_is_over(self) -> None:
        world = available_after(20, pause=timedelta(days=20))
        note(world, 1)
        world.settle(until=world.now)
        world.now += 20 * DAY
        world.crash_at(LoadDeadLetters)
        world.deliver()
        assert world.value() == "shipped"
        lose_all_but_the_store(world)
        world.now += HOUR + 1
        assert woken(world) == ["what was postponed"]
        world.settle(until=world.now)
        assert world.snapshot().context["notes"] == [1]


def test_a_postponed_message_that_the_store_cannot_keep_is_a_dead_letter_and_not_waited_for() -> None:
    world = FullStore(order(lambda: world.now > 20 * DAY, timedelta(hours=12)))
    forgetful(world)
    world.largest_dead_letter = 10_000
    world.start()
    world.send("BUY", id="buy")
    note(world, 1, text="x" * 20_000)
    note(world, 2)
    world.settle(until=DAY)
    assert [world.outcome(f"note{n}") for n in (1, 2)] == [Outcome.DEAD_LETTERED, Outcome.POSTPONED]
    assert str(world.reason("note1")).endswith("which was left out")
    world.settle(until=30 * DAY)
    assert world.snapshot().context["notes"] == [2]
    assert letters_of(world) == ["note1"]


def test_a_dead_letter_whose_turn_was_open_is_taken_once_though_the_record_remembers_no_messages() -> None:
    asked: list[bool] = []

    def is_in_stock() -> bool:
        asked.append(True)
        return len(asked) == 1 or pytest.fail("it was taken again")

    world = World(order(is_in_stock), policy=Policy(window=0, lease=timedelta(seconds=LEASE)))
    forgetful(world)
    world.start()
    world.settle(until=world.now)
    recovered(world, [dropped(world, {"type": "BUY"}, "buy")])
    world.settle(until=world.now)
    assert world.record().ordinal == 2
    assert world.dead_letters() == []
