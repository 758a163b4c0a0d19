"""Logic that tries to change what it is handed: a worker that has the record at hand, and one that loads it, agree."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from settled import Call, Machine, Retry, actor, assign, setup
from settled.durable.commands import Finish
from settled_runtime.record_cache import RecordCache
from tests.support.vandal import Vandal, change_all, honest
from tests.support.virtual_world import World

THRICE = Retry(attempts=3)


def counter(logic: Any, inputs: list[Any] | None = None) -> Machine[Any]:
    """Return a machine that collects numbers, and adds up those it has with an actor that fails twice."""
    attempts = Counter[str]()

    def add_up(input: Any, call: Call) -> Any:
        if inputs is not None:
            inputs.append([*input["numbers"]])
        total = {"total": [sum(input["numbers"])]}
        if logic is not honest:
            change_all([input, call.headers])
        attempts[call.idempotency_key] += 1
        if attempts[call.idempotency_key] < 3:
            raise ValueError("not yet")
        return total

    return setup(
        guards={"no": logic(lambda a: False)},
        actions={
            "add": assign(numbers=logic(lambda a: [*a.context["numbers"], *a.event["numbers"]])),
            "keep": assign(totals=logic(lambda a: [*a.context["totals"], a.event["output"]])),
            "say": logic(lambda a: None),
        },
        actors={"add_up": actor(add_up, input=logic(lambda a: {"numbers": a.context["numbers"]}), retry=THRICE)},
    ).machine(
        {
            "id": "counter",
            "initial": "waiting",
            "context": {"numbers": [], "totals": []},
            "states": {
                "waiting": {
                    "tags": ["settled"],
                    "on": {
                        "ADD": [{"guard": "no"}, {"actions": ["add", "say"]}],
                        "SUM": "summing",
                        "LOOK": {"guard": "no", "actions": "say"},
                    },
                },
                "summing": {
                    "invoke": {
                        "src": "add_up",
                        "id": "sum",
                        "onDone": {"target": "waiting", "actions": ["keep", "say"]},
                    }
                },
            },
        }
    )


EVENTS: list[dict[str, Any]] = [
    {"type": "ADD", "numbers": [1, 2]},
    {"type": "ADD", "numbers": []},
    {"type": "SUM"},
    {"type": "LOOK"},
]


def contexts(machine: Machine[Any], events: list[dict[str, Any]], *, is_warm: bool) -> list[Any]:
    """Return the context of two instances, one after the other, after each of `events`."""
    world = World(machine, record_cache=RecordCache() if is_warm else None)
    found: list[Any] = []
    for instance in ("ada", "bob"):
        world.start(instance)
        for event in events:
            world.send(event, instance)
            world.settle()
            found.append(world.snapshot(instance).context)
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6))
def test_a_warm_worker_and_a_cold_one_store_what_honest_logic_does(events: list[dict[str, Any]]) -> None:
    right = contexts(counter(honest), events, is_warm=False)
    assert contexts(counter(Vandal()), events, is_warm=True) == right
    assert contexts(counter(Vandal()), events, is_warm=False) == right


def test_each_attempt_of_an_actor_gets_the_input_as_it_was() -> None:
    inputs: list[Any] = []
    world = World(counter(Vandal(), inputs))
    world.start()
    world.send({"type": "ADD", "numbers": [1, 2]})
    world.send({"type": "SUM"})
    world.settle()
    assert inputs == [[1, 2]] * 3


def test_an_action_that_is_repeated_after_a_crash_gets_what_it_was_first_given() -> None:
    seen: list[Any] = []

    def say(a: Any) -> None:
        seen.append(([*a.context["list"]], [*a.event["list"]], [*a.params]))
        change_all(a)
        if len(seen) < 3:
            raise ValueError("not yet")

    machine = setup(actions={"say": say}).machine(
        {"id": "talker", "context": {"list": [1]}, "on": {"SAY": {"actions": {"type": "say", "params": [3]}}}}
    )
    world = World(machine)
    world.start()
    world.crash_after(Finish, nth=2)
    world.send({"type": "SAY", "list": [2]})
    world.settle()
    assert seen == [([1], [2], [3])] * 3
