"""What logic is handed cannot be changed in place, and what it returns is no longer its own."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, NamedTuple, NewType, TypeVar

import pytest
from attrs import define, field, frozen, make_class
from hypothesis import given, settings
from hypothesis import strategies as st

from settled import (
    ActionArgs,
    Call,
    DefinitionError,
    Key,
    LogicError,
    Machine,
    actor,
    assign,
    emit,
    enqueue_actions,
    log,
    raise_,
    send_to,
    setup,
)
from settled.step.effects import Effect, Execute, Invoke
from tests.support.machines import after
from tests.support.vandal import Vandal, change_all, honest

CALL = Call(Key("shop", "ada"), "shop/ada/1/0/0", 1, None, 3, lambda: False, {"trace": "1"})

Logic = Callable[[Callable[..., Any]], Callable[..., Any]]


def never(input: Any, call: Any) -> None:
    raise AssertionError("a step runs no actor")


def shop(logic: Logic, performed: list[Any] | None = None) -> Machine[Any]:
    """Return a machine that calls a function of every kind, each made by `logic` of an honest one."""

    @logic
    def remember(a: ActionArgs[Any]) -> None:
        if performed is not None:
            performed.append(deepcopy((a.context, a.event, a.params)))

    return setup(
        create_context=logic(lambda input: {"items": list(input["items"]), "last": {}, "n": 0}),
        guards={
            "never": logic(lambda a: False),
            "is_short": logic(lambda a: len(a.context["items"]) < 4),
            "has_params": logic(lambda a: a.params["allowed"] == ["x"]),
        },
        actions={
            "add": assign(items=logic(lambda a: [*a.context["items"], a.event.get("skus", [])])),
            "keep": assign(logic(lambda a: {"last": a.event, "n": a.context["n"] + 1})),
            "remember": remember,
            "tell": raise_(logic(lambda a: {"type": "TOLD", "items": a.context["items"]})),
            "cry": emit(logic(lambda a: {"type": "CRY", "items": [a.context["items"]]})),
            "write": log(logic(lambda a: [a.context, a.event])),
            "some": enqueue_actions(logic(lambda a: a.enqueue({"type": "remember", "params": {"why": ["some"]}}))),
            "note": send_to("worker", logic(lambda a: {"type": "NOTE", "items": a.context["items"]})),
        },
        actors={"worker": actor(never, input=logic(lambda a: {"items": a.context["items"], "given": a.params}))},
        delays={"soon": logic(lambda a: timedelta(seconds=len(a.context["items"])))},
    ).machine(
        {
            "id": "shop",
            "initial": "open",
            "on": {
                "ADD": [
                    {"guard": "never", "actions": "add"},
                    {"guard": {"type": "has_params", "params": {"allowed": ["x"]}}, "actions": ["add", "keep"]},
                ],
                "TELL": {"actions": ["tell", "cry", "write", "some"]},
                "TOLD": {"actions": {"type": "remember", "params": {"told": [1]}}},
            },
            "states": {
                "open": {
                    "meta": {"sign": ["come in"]},
                    "on": {"WORK": {"guard": "is_short", "target": "busy"}, "CLOSE": "closed"},
                },
                "busy": {
                    "type": "parallel",
                    "invoke": {"src": "worker", "id": "worker", "input": {"literal": [1]}},
                    "after": {"soon": {"target": "open", "actions": "keep"}},
                    "entry": "note",
                    "states": {"left": {"initial": "a", "states": {"a": {}}}, "right": {}},
                    "on": {"xstate.done.actor.worker": {"target": "open", "actions": "keep"}},
                },
                "closed": {"type": "final", "output": logic(lambda a: {"sold": a.context["items"]})},
            },
            "output": logic(lambda a: {"all": [a.event["output"]["sold"]]}),
        }
    )


EVENTS: list[dict[str, Any]] = [
    {"type": "ADD", "skus": ["a", ["b"]], "more": {"deep": [1]}},
    {"type": "ADD"},
    {"type": "TELL"},
    {"type": "WORK"},
    {"type": "xstate.done.actor.worker", "output": {"sum": [7]}, "actorId": "worker"},
    {"type": "xstate.after.soon.shop.busy"},
    {"type": "CLOSE", "why": ["late"]},
    {"type": "UNKNOWN", "data": [[]]},
]
INPUT: dict[str, Any] = {"items": [["first"]]}

Step = tuple[Any, list[Effect]]


def play(machine: Machine[Any], events: list[dict[str, Any]], performed: list[Any], *, is_cold: bool) -> list[Any]:
    """Return what the machine makes of copies of `events`: JSON of its snapshots, and effects."""
    snapshot, effects = machine.initial_transition(deepcopy(INPUT))
    steps: list[Any] = [(machine.to_json(snapshot), deepcopy(list(effects)))]
    for event in deepcopy(events):
        if is_cold:
            snapshot = machine.load(machine.dump(snapshot))
        machine.can(snapshot, event)
        machine.explain(snapshot, event)
        snapshot, effects = machine.transition(snapshot, event)
        for effect in effects:
            if isinstance(effect, Execute):
                machine.bind(effect, snapshot, CALL)()
        steps.append(deepcopy((machine.to_json(snapshot), list(effects), event, snapshot.value, snapshot.meta)))
    steps.append(deepcopy(performed))
    return steps


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.booleans())
def test_the_worst_logic_does_what_honest_logic_does(events: list[dict[str, Any]], is_cold: bool) -> None:
    expected, found = list[Any](), list[Any]()
    right = play(shop(honest, expected), events, expected, is_cold=False)
    vandalised = shop(Vandal(), found)
    assert play(vandalised, events, found, is_cold=is_cold) == right
    found.clear()
    assert play(vandalised, events, found, is_cold=is_cold) == right, "the next instance is another one"


def test_the_next_instance_starts_with_a_context_of_its_own() -> None:
    def add(a: Any) -> list[int]:
        change_all(a.context)
        return [*a.context["items"], 1]

    machine = setup(actions={"add": assign(items=add)}).machine(
        {"context": {"items": [], "inner": {"list": []}}, "on": {"ADD": {"actions": "add"}}}
    )
    assert after(machine, "ADD").context == {"items": [1], "inner": {"list": []}}
    assert after(machine).context == {"items": [], "inner": {"list": []}}


def test_the_error_names_the_function_and_says_what_to_do() -> None:
    machine = setup(actions={"add": assign(items=lambda a: a.context["items"].append(1))}).machine(
        {"id": "cart", "context": {"items": []}, "on": {"ADD": {"actions": "add"}}}
    )
    message = 'cart: the action "add" at on.ADD.actions raised TypeError: this array cannot be changed.* make a new one'
    with pytest.raises(LogicError, match=message):
        after(machine, "ADD")


def test_a_guard_that_answers_false_changes_nothing() -> None:
    def broken(a: Any) -> bool:
        a.context.update(n=9)
        return False

    machine = setup(guards={"broken": broken}).machine({"context": {"n": 1}, "on": {"GO": {"guard": "broken"}}})
    snapshot = after(machine)
    with pytest.raises(LogicError, match="this object cannot be changed"):
        machine.can(snapshot, {"type": "GO"})
    assert snapshot.context == {"n": 1}


class TestWhatIsGiven:
    """What an author or a caller gives stays theirs: a later change of it has no effect."""

    def test_as_the_config(self) -> None:
        config: dict[str, Any] = {
            "context": {"items": []},
            "meta": {"colours": ["red"]},
            "entry": {"type": "say", "params": {"words": ["hello"]}},
        }
        machine = setup(actions={"say": lambda a: None}).machine(config)
        before = machine.initial_transition()
        change_all([config, before[0].meta])
        assert machine.initial_transition() == before
        assert before[0].context == {"items": []} and before[0].meta == {"(machine)": {"colours": ["red"]}}

    def test_as_a_literal_of_an_action(self) -> None:
        basket: list[Any] = []
        ping: dict[str, Any] = {"type": "PING", "to": ["all"]}
        machine = setup(actions={"empty": assign(items=basket), "ping": emit(ping)}).machine(
            {"context": {"items": [1]}, "entry": ["empty", "ping"]}
        )
        before = machine.initial_transition()
        change_all([basket, ping])
        assert machine.initial_transition() == before
        assert before[0].context == {"items": []}

    def test_as_an_event(self) -> None:
        machine = setup(actions={"say": lambda a: None}).machine({"on": {"GO": {"actions": "say"}}})
        event: dict[str, Any] = {"type": "GO", "data": [1]}
        _, (effect,) = machine.transition(after(machine), event)
        change_all(event)
        assert isinstance(effect, Execute) and effect.event == {"type": "GO", "data": [1]}

    def test_as_a_result(self) -> None:
        kept: dict[str, Any] = {"list": [1]}
        machine = setup(
            actions={"keep": assign(kept=lambda a: kept)}, actors={"work": actor(never, input=lambda a: kept)}
        ).machine({"context": {}, "entry": "keep", "invoke": {"src": "work", "id": "work"}})
        snapshot, (invoke,) = machine.initial_transition()
        change_all(kept)
        assert snapshot.context == {"kept": {"list": [1]}}
        assert snapshot.children["work"].input == {"list": [1]}
        assert isinstance(invoke, Invoke) and invoke.input == {"list": [1]}


def test_a_migration_that_fails_has_changed_nothing() -> None:
    def migrate(data: dict[str, Any]) -> dict[str, Any]:
        data["context"]["items"].append("broken")
        raise ValueError("no")

    machine = setup(migrations={"1": migrate}).machine({"version": "2"})
    stored: dict[str, Any] = {"status": "active", "value": {}, "context": {"items": []}}
    with pytest.raises(LogicError):
        machine.migrate(stored, "1")
    assert stored["context"] == {"items": []}


@frozen
class Line:
    sku: str
    tags: list[str]


@frozen
class Cart:
    lines: list[Line]
    counts: dict[str, list[int]]
    pair: tuple[list[int], int]
    seen: set[str]


@frozen
class Add:
    skus: list[str]


T = TypeVar("T")


@define
class Box(Generic[T]):
    part: T


@dataclass
class Point:
    x: int


class Pair(NamedTuple):
    left: Any
    right: int


@frozen
class Anything:
    part: Any


@frozen
class Row:
    number: int


@frozen
class Large:
    items: tuple[Row, ...]
    n: int


@define
class Changeable:
    n: int = 0


@frozen
class Outer:
    inner: tuple[Changeable | None, ...] = ()


CART: dict[str, Any] = {
    "lines": [{"sku": "a", "tags": ["x"]}],
    "counts": {"a": [1]},
    "pair": [[1], 2],
    "seen": ["a"],
}


def cart_of(counts: list[int]) -> Cart:
    return Cart([Line("a", ["x"])], {"kept": counts}, ([1], 2), {"a"})


class TestADeclaredClass:
    def test_is_handed_with_all_its_parts_frozen(self) -> None:
        def vandalise(a: Any) -> bool:
            change_all(a)
            with pytest.raises(AttributeError):
                a.context.seen.add("b")
            assert isinstance(a.context.pair, tuple)
            return False

        machine = setup(context=Cart, events={"ADD": Add}, guards={"broken": vandalise}).machine(
            {"context": CART, "on": {"ADD": {"guard": "broken"}}}
        )
        snapshot = after(machine)
        assert not machine.can(snapshot, {"type": "ADD", "skus": ["b"]})
        for found in (snapshot, machine.load(machine.dump(snapshot)), after(machine)):
            assert machine.to_json(found)["context"] == CART

    def test_is_frozen_again_when_it_is_assigned(self) -> None:
        kept = [1]
        machine = setup(
            context=Cart,
            actions={"count": assign(counts=lambda a: {"b": kept}), "all": assign(lambda a: cart_of(kept))},
        ).machine({"context": CART, "on": {"COUNT": {"actions": "count"}, "ALL": {"actions": "all"}}})
        counted, replaced = after(machine, "COUNT"), after(machine, "ALL")
        kept.append(2)
        change_all([counted.context, replaced.context])
        assert counted.context.counts == {"b": [1]}
        assert replaced.context.counts == {"kept": [1]}

    @pytest.mark.parametrize("kind", ["context", "events"])
    def test_may_not_have_instances_that_can_be_changed(self, kind: str) -> None:
        for declared in (Changeable, Outer):
            given: Any = {"context": declared} if kind == "context" else {"events": {"ADD": declared}}
            with pytest.raises(DefinitionError, match=r"(?s)Changeable can be changed.*attrs\.frozen"):
                setup(**given).machine({"context": {}})

    @pytest.mark.parametrize("name", ["Box", "Point", "Renamed"])
    def test_may_not_have_them_behind_other_types_either(self, name: str) -> None:
        part: Any = {"Box": Box[int], "Point": Point, "Renamed": NewType("Renamed", Changeable)}[name]
        declared: Any = make_class("Declared", {"part": field(type=part)}, frozen=True)
        with pytest.raises(DefinitionError, match=r"can be changed"):
            setup(context=declared).machine({"context": {}})

    def test_may_not_get_one_where_its_type_says_nothing(self) -> None:
        machine = setup(context=Anything, actions={"put": assign(part=lambda a: Changeable(1))}).machine(
            {"context": {"part": None}, "on": {"PUT": {"actions": "put"}}}
        )
        with pytest.raises(LogicError, match="Changeable can be changed"):
            after(machine, "PUT")

    def test_has_named_tuples_of_frozen_parts(self) -> None:
        machine = setup(context=Anything, actions={"put": assign(part=lambda a: Pair([1], 2))}).machine(
            {"context": {"part": None}, "on": {"PUT": {"actions": "put"}}}
        )
        part = after(machine, "PUT").context.part
        assert part == Pair([1], 2) and type(part) is Pair
        change_all([part.left])
        assert part.left == [1]

    def test_is_not_looked_through_again_where_an_assignment_leaves_it_alone(self) -> None:
        machine = setup(context=Large, actions={"count": assign(n=lambda a: a.context.n + 1)}).machine(
            {"context": {"items": [], "n": 0}, "on": {"COUNT": {"actions": "count"}}}
        )
        start = machine.resolve_state({}, Large(tuple(Row(number) for number in range(10_000)), 0))
        calls = list[object]()
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, _: calls.append(frame) if event == "call" else None)
        try:
            machine.transition(start, {"type": "COUNT"})
        finally:
            sys.setprofile(before)
        assert len(calls) < 200
