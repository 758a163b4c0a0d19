"""Hypothesis strategies for machines and events.

A machine is generated as the config of a parity case, so the same strategy serves the properties of the core and the
comparison with the real XState. All nodes have an explicit id, and transitions may have any target.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

from hypothesis import strategies as st

from settled import Machine
from tests.parity.runner import machine_of

Config = dict[str, Any]
Event = dict[str, Any]

TYPES = ("E", "F", "a.b", "a.c")
DESCRIPTORS = (*TYPES, "*", "a.*")
TAGS = ("t1", "t2", "settled")
DEPTH, WIDTH = 3, 3


def machines(*, with_loops: bool = True) -> st.SearchStrategy[Machine[Any]]:
    """Compiled machines."""
    return configs(with_loops=with_loops).map(machine_of)


@st.composite
def configs(draw: st.DrawFn, *, with_loops: bool = True) -> Config:
    """Configs in the vocabulary of the parity cases. Without loops there are no eventless transitions or raises."""
    root = draw(_skeletons(DEPTH, is_root=True))
    _name(root, "m")
    targets = st.sampled_from([*_single_targets(root), *_double_targets(root)])
    anywhere = st.sampled_from([f"#{node['id']}" for node in _nodes(root) if node["type"] != "history"])
    for node in _nodes(root):
        if node["type"] != "history":
            node.update(draw(_behaviours(node, targets, with_loops)))
        elif draw(st.integers(0, 5)) == 0:
            node["target"] = draw(anywhere)
    root["context"] = {"n": 0, "m": 0}
    return root


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Parity cases: a config, and events that it is likely to take."""
    config = draw(configs())
    return {"config": config, "events": draw(st.lists(events_of(config), max_size=8)), "micro": draw(st.booleans())}


def events_of(config: Mapping[str, Any]) -> st.SearchStrategy[Event]:
    """Events from outside and inside that a machine of `config` may take."""
    own = [{"type": descriptor} for descriptor in sorted(_inner_descriptors(config))]
    outside = st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional={"n": st.integers(0, 3)})
    return st.one_of(outside, outside, st.sampled_from(own)) if own else outside


def _inner_descriptors(node: Mapping[str, Any]) -> set[str]:
    found = {f"xstate.after.{delay}.{node['id']}" for delay in node.get("after", {})}
    for invoke in node.get("invoke", ()):
        found |= {f"xstate.done.actor.{invoke['id']}", f"xstate.error.actor.{invoke['id']}"}
    return found.union(*(_inner_descriptors(child) for child in node.get("states", {}).values()))


def _nodes(node: Config) -> list[Config]:
    return [node, *(inner for child in node.get("states", {}).values() for inner in _nodes(child))]


def _single_targets(root: Config) -> list[list[str]]:
    return [[f"#{node['id']}"] for node in _nodes(root)]


def _double_targets(root: Config) -> list[list[str]]:
    """Two targets at once are in two regions of a parallel node."""
    return [
        [f"#{one['id']}", f"#{other['id']}"]
        for node in _nodes(root)
        if node["type"] == "parallel"
        for left, right in permutations([it for it in node["states"].values() if it["type"] != "history"], 2)
        for one in _nodes(left)
        for other in _nodes(right)
    ]


def _name(node: Config, id: str) -> None:
    node["id"] = id
    for key, child in node.get("states", {}).items():
        _name(child, f"{id}-{key}")


@st.composite
def _skeletons(draw: st.DrawFn, depth: int, *, is_root: bool = False) -> Config:
    """Nodes without behaviour: types, children, initial states and histories."""
    kind = draw(
        st.sampled_from(("compound", "parallel", "atomic", "final") if depth else ("atomic", "atomic", "final"))
    )
    if is_root and kind not in ("compound", "parallel"):
        kind = "compound"
    if kind not in ("compound", "parallel"):
        return {"type": kind}
    keys = draw(st.lists(st.sampled_from(["a", "b", "c", "2", "10"]), min_size=1, max_size=WIDTH, unique=True))
    states = {key: draw(_skeletons(depth - 1)) for key in keys}
    if draw(st.booleans()):
        states["h"] = {"type": "history", "history": draw(st.sampled_from(["shallow", "deep"]))}
        if draw(st.booleans()):
            states["h"]["target"] = draw(st.sampled_from(keys))
    node: Config = {"type": kind, "states": states}
    if kind == "compound":
        node["initial"] = draw(st.sampled_from(keys))
    return node


@st.composite
def _behaviours(draw: st.DrawFn, node: Config, targets: st.SearchStrategy[list[str]], with_loops: bool) -> Config:
    transition = _transitions(targets, with_loops)
    result: Config = {}
    if draw(st.booleans()):
        result["on"] = draw(st.dictionaries(st.sampled_from(DESCRIPTORS), st.lists(transition, max_size=2), max_size=3))
    if draw(st.integers(0, 3)) == 0:
        result["after"] = draw(st.dictionaries(st.sampled_from(["10", "5", "short"]), transition, max_size=2))
    if with_loops and draw(st.integers(0, 5)) == 0:
        result["always"] = draw(st.lists(_guarded(transition), max_size=1))
    if draw(st.integers(0, 3)) == 0:
        result["invoke"] = [draw(_invokes(f"i-{node['id']}", transition))]
    if node["type"] in ("compound", "parallel") and draw(st.booleans()):
        result["onDone"] = draw(transition)
    if node["type"] == "final" and draw(st.booleans()):
        result["output"] = {"n": {"$ctx": "n"}}
    if node["type"] == "compound" and draw(st.booleans()):
        result["initial"] = {"target": node["initial"], "actions": draw(_actions(with_loops))}
    result["entry"], result["exit"] = draw(_actions(with_loops)), draw(_actions(with_loops))
    result["tags"] = draw(st.lists(st.sampled_from(TAGS), max_size=1))
    return result


def _invokes(id: str, transition: st.SearchStrategy[Config]) -> st.SearchStrategy[Config]:
    required = {"src": st.just("worker"), "id": st.just(id), "input": st.just({"n": {"$ctx": "n"}})}
    return st.fixed_dictionaries(required, optional={"onDone": transition, "onError": transition})


def _transitions(targets: st.SearchStrategy[list[str]], with_loops: bool) -> st.SearchStrategy[Config]:
    return st.fixed_dictionaries(
        {"actions": _actions(with_loops)},
        optional={
            "target": targets,
            "guard": _guards(),
            "reenter": st.booleans(),
        },
    )


def _guarded(transition: st.SearchStrategy[Config]) -> st.SearchStrategy[Config]:
    """Transitions that can be taken only a few times, because a guard counts them: so every loop ends."""
    guard = {"type": "ctxLt", "params": {"key": "m", "value": 3}}
    count = {"type": "inc", "params": {"key": "m", "by": 1}}
    return transition.map(lambda it: {**it, "guard": guard, "actions": [count, *it["actions"]]})


def _guards() -> st.SearchStrategy[Any]:
    simple = st.one_of(st.sampled_from(["T", "F"]), _comparisons())
    return st.one_of(simple, st.builds(_negated, simple))


@st.composite
def _comparisons(draw: st.DrawFn) -> Config:
    kind = draw(st.sampled_from(["ctxLt", "ctxGte", "evEq"]))
    return {"type": kind, "params": {"key": "n", "value": draw(st.integers(0, 3))}}


def _negated(guard: Any) -> Config:
    return {"type": "not", "params": {"guard": guard}}


def _actions(with_loops: bool) -> st.SearchStrategy[list[Any]]:
    known: list[Any] = [
        "act1",
        {"type": "act2", "params": {"p": 1}},
        {"type": "inc", "params": {"key": "n", "by": 1}},
        {"type": "assign", "params": {"key": "last", "value": {"$ev": "type"}}},
        {"type": "push", "params": {"key": "seen", "value": {"$ctx": "n"}}},
        {"type": "log", "params": {"value": {"$ctx": "n"}}},
        {"type": "emit", "params": {"event": {"type": "out", "n": {"$ctx": "n"}}}},
        {"type": "raise", "params": {"event": {"type": "F"}, "id": "later", "delay": 10}},
        {"type": "cancel", "params": {"id": "later"}},
        {"type": "spawn", "params": {"src": "worker", "id": "s1"}},
        {"type": "stopChild", "params": {"id": "s1"}},
        {"type": "sendTo", "params": {"to": "#_internal", "event": {"type": "E"}}},
    ]
    guarded = {"guard": {"type": "ctxLt", "params": {"key": "n", "value": 2}}, "actions": [known[0], known[2]]}
    known.append({"type": "enqueue", "params": {"items": [guarded, {"actions": [known[5]]}]}})
    if with_loops:
        known.append({"type": "raise", "params": {"event": {"type": "a.b"}}})
    return st.lists(st.sampled_from(known), max_size=2)
