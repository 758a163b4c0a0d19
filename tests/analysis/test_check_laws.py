"""Findings are never wrong: compared with random machines and with traces of the real XState."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settled import Finding, LogicError, Machine, Node, SettledError, Snapshot, StateValue, check, setup
from settled.data import ABSENT, is_array, is_object
from settled.progress import Progress, drain_inbox, initial_progress, take_event
from tests.parity.compare import cases_in
from tests.parity.runner import machine_of
from tests.support.strategies import Config, configs, events_of
from tests.support.virtual_world import World

AnyMachine = Machine[Any]
FEW_ITERATIONS = {"options": {"maxIterations": 50}}
CORPUS = Path(__file__).parent.parent / "parity"


def at(machine: AnyMachine, findings: tuple[Finding, ...], code: str) -> set[Node]:
    """The nodes that the findings with `code` are about."""
    paths = {finding.path for finding in findings if finding.code == code}
    return {node for node in machine.chart.nodes if node.path in paths}


def unreachable(machine: AnyMachine, findings: tuple[Finding, ...]) -> set[Node]:
    """The nodes that are found to be unreachable, and their descendants."""
    tops = at(machine, findings, "unreachable")
    return {node for top in tops for node in machine.chart.subtree(top)}


@pytest.mark.parametrize("name", ["fuzz", "probes"])
def test_no_trace_of_xstate_enters_what_is_unreachable(name: str) -> None:
    wrong = [case["id"] for case in cases_in(CORPUS / f"{name}.jsonl.gz") if "from" not in case and is_wrong(case)]
    assert wrong == []


def is_wrong(case: Any) -> bool:
    if "invalid" in case["expected"]:
        return False
    machine = machine_of(case["config"])
    never_entered = unreachable(machine, check(machine.chart))
    entered = {node for value in values(case["expected"]["steps"]) for node in machine.chart.resolve(value).nodes}
    return not never_entered.isdisjoint(entered | passed(machine, case))


def values(steps: list[Any]) -> Iterator[StateValue]:
    """The state values in a recorded trace."""
    for step in steps:
        if "value" in step and not step.get("error"):
            yield step["value"]


def passed(machine: AnyMachine, case: Any) -> set[Node]:
    """The nodes that are active after any microstep of `case`; not all traces contain microsteps."""
    found: set[Node] = set()
    try:
        snapshot, _ = machine.initial_transition(case.get("input"))
        microsteps = [*machine.initial_microsteps(case.get("input"))]
        for event in case["events"]:
            microsteps += machine.microsteps(snapshot, event)
            snapshot, _ = machine.transition(snapshot, event)
            found.update(node for each, _ in microsteps for node in each.configuration.nodes)
    except SettledError:
        pass
    return found


@given(config=configs(), data=st.data())
def test_what_is_unreachable_is_never_entered(config: Config, data: st.DataObject) -> None:
    machine = machine_of({**config, **FEW_ITERATIONS})
    never_entered = unreachable(machine, check(machine.chart))
    for snapshot in walk(machine, config, data):
        assert never_entered.isdisjoint(snapshot.configuration.nodes)


def walk(machine: AnyMachine, config: Config, data: st.DataObject) -> Iterator[Snapshot[Any]]:
    """The snapshots of `machine` after random events, each after the events that it sent itself."""
    try:
        progress = drain_inbox(machine, initial_progress(machine))
        yield progress.snapshot
        for event in data.draw(st.lists(events_of(config), max_size=6)):
            if progress.snapshot.status != "active":
                return
            progress = drain_inbox(machine, take_event(machine, Progress(progress.snapshot), event))
            yield progress.snapshot
    except LogicError:
        return  # it never comes to rest


KEYS = "abcd"
TARGETS = ("#a", "#b", "#c", "#d", "#d1", "#d2", "#d3")


@st.composite
def waiting(draw: st.DrawFn, *, with_doubts: bool) -> dict[str, Any]:
    """Machines in which some nodes are tagged as settled, and others may lack the tag.

    Without doubts, only a node itself or an ancestor can move it on.
    """
    states: dict[str, Any] = {key: draw(waiting_nodes(key, with_doubts)) for key in KEYS}
    inner = {key: draw(waiting_nodes(key, with_doubts)) for key in ("d1", "d2", "d3")}
    if with_doubts and draw(st.booleans()):
        regions = {"r": {"initial": "d1", "states": {"d1": inner["d1"], "d2": inner["d2"]}}, "d3": inner["d3"]}
        states["d"] |= {"type": "parallel", "states": regions}
    else:
        states["d"] |= {"initial": "d1", "states": inner}
    states["a"]["tags"] = "settled"
    return {"id": "m", "initial": "a", "states": states, **FEW_ITERATIONS}


@st.composite
def waiting_nodes(draw: st.DrawFn, id: str, with_doubts: bool) -> dict[str, Any]:
    node: dict[str, Any] = {"id": id, "on": draw(st.dictionaries(st.sampled_from("EF"), st.sampled_from(TARGETS)))}
    if draw(st.integers(0, 2)) == 0:
        node["tags"] = draw(st.sampled_from(["settled", "resolve", "busy"]))
    if draw(st.integers(0, 5)) == 0:
        node["after"] = {"10": draw(st.sampled_from(TARGETS))}
    if with_doubts and draw(st.integers(0, 3)) == 0:
        node["entry"] = {"type": "xstate.raise", "params": {"event": {"type": draw(st.sampled_from("EFG"))}}}
    return node


@given(config=waiting(with_doubts=True), events=st.lists(st.sampled_from("EF"), min_size=1, max_size=5))
def test_a_turn_fails_where_a_hang_is_found(config: dict[str, Any], events: list[str]) -> None:
    machine = setup().machine(config)
    hanging = at(machine, tuple(each for each in machine.check() if each.severity == "error"), "hangs")
    for nodes, raised in turns(machine, events):
        assert raised or hanging.isdisjoint(nodes)


@given(config=waiting(with_doubts=False), events=st.lists(st.sampled_from("EF"), min_size=1, max_size=5))
def test_a_hang_is_found_where_a_turn_fails(config: dict[str, Any], events: list[str]) -> None:
    machine = setup().machine(config)
    hanging = at(machine, machine.check(), "hangs")
    for nodes, raised in turns(machine, events):
        assert raised == (not hanging.isdisjoint(nodes))


def turns(machine: AnyMachine, events: list[str]) -> Iterator[tuple[frozenset[Node], bool]]:
    """Yield the nodes after each event, and whether the turn fails because nothing would ever move it on."""
    world, snapshot = World(machine), drain_inbox(machine, initial_progress(machine)).snapshot
    world.start()
    world.deliver()
    for event in events:
        if world.record().turn is not None:
            return  # it waits for a timer
        world.send(event)
        world.deliver()
        failing = world.record().failing
        try:
            snapshot = drain_inbox(machine, take_event(machine, Progress(snapshot), {"type": event})).snapshot
        except LogicError:
            return  # it never comes to rest
        yield snapshot.configuration.members, failing is not None
        if failing is not None:
            assert "is not settled and waits for nothing" in failing.detail
            return


@st.composite
def eventless(draw: st.DrawFn) -> dict[str, Any]:
    """Machines with only eventless transitions: flat states, and one compound state."""
    target = st.sampled_from(TARGETS[:-1])
    move: st.SearchStrategy[Config] = st.fixed_dictionaries({"target": target}, optional={"guard": st.just("no")})
    always = st.lists(move, max_size=2)
    states: dict[str, Any] = {key: {"id": key, "always": draw(always)} for key in KEYS}
    inner = {key: {"id": key, "always": draw(always)} for key in ("d1", "d2")}
    states["d"] |= {"initial": "d1", "states": inner}
    if draw(st.booleans()):
        states["c"]["type"] = "final"
    return {"id": "m", "initial": draw(st.sampled_from(KEYS)), "states": states}


@given(config=eventless(), answer=st.booleans())
def test_what_loops_never_comes_to_rest(config: dict[str, Any], answer: bool) -> None:
    machine = setup(guards={"no": lambda args: answer}).machine(config)
    for finding in machine.check():
        if finding.code == "loops":
            leaf = next(node for node in machine.chart.nodes if f'"{node.id}" ->' in finding.problem)
            top = leaf.ancestors[-2] if leaf.parent is not machine.chart.root else leaf
            states = {**config["states"]}
            if top is not leaf:
                states["d"] = {**states["d"], "initial": leaf.key}
            started = setup(guards={"no": lambda args: answer}).machine(
                {**config, "initial": top.key, "states": states}
            )
            snapshot, _ = started.initial_transition()
            assert snapshot.status == "error" and snapshot.error is not ABSENT


@given(config=eventless())
def test_a_loop_without_guards_is_found(config: dict[str, Any]) -> None:
    config = unguarded(config)
    machine = setup().machine(config)
    if machine.initial_transition()[0].status == "error":
        assert any(finding.code == "loops" for finding in machine.check())


def unguarded(config: Any) -> Any:
    if is_object(config):
        return {key: unguarded(value) for key, value in config.items() if key != "guard"}
    return [unguarded(each) for each in config] if is_array(config) else config


@given(config=configs())
def test_findings_of_the_bare_config_are_found_with_implementations_too(config: Config) -> None:
    machine = machine_of(config)
    depend_on_implementations = {"hangs", "result-leads-nowhere", "invokes-while-settled"}
    bare = {(each.code, each.path) for each in check(machine.chart) if each.code not in depend_on_implementations}
    assert bare <= {(each.code, each.path) for each in machine.check()}
