"""The content of a diagram, independent of the output language: nested shapes, and arrows between them.

Graph layout copes badly with arrows between a shape and the one around it. Two pseudo-shapes avoid them. "Any state"
inside a node holds what the node does in each of its states: its actions, its actors and its transitions to nodes
inside. "Anew" inside a node is the end of the arrows that lead to the node from inside, and so enter it again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

from attrs import define, field, frozen

from settled.chart.actions import RaiseEvent, SendTo
from settled.chart.args import literal_value
from settled.chart.builtins import builtin_action
from settled.chart.chart import Chart, Configuration
from settled.chart.config import Reference, name_of
from settled.chart.guard_text import guard_text
from settled.chart.nodes import ActionSite, InvokeSite, Node, Transition
from settled.chart.settled_tags import has_settled_tag
from settled.data import ABSENT, is_object
from settled.printable import printable

ShapeKind: TypeAlias = Literal["state", "compound", "parallel", "final", "history", "start", "any", "anew"]


_REGIONS: tuple[ShapeKind, ...] = ("state", "compound", "parallel", "final")
_PSEUDO: tuple[ShapeKind, ...] = ("start", "any", "anew")


@frozen
class Shape:
    """A node, or a pseudo-shape inside one: its ``start``, ``any`` of its states, or the node entered ``anew``.

    `id` consists of letters, digits and underscores; `title` and `lines` are any text.
    """

    id: str
    kind: ShapeKind
    title: str = ""
    lines: tuple[str, ...] = ()
    inside: tuple[Shape, ...] = ()
    is_settled: bool = False
    is_active: bool = False

    @property
    def regions(self) -> tuple[Shape, ...]:
        """The shapes inside that are active side by side, if this is parallel."""
        return tuple(shape for shape in self.inside if self.kind == "parallel" and shape.kind in _REGIONS)


@frozen
class Arrow:
    """An arrow between two shapes, by their ids. `label` has a line for the trigger and guard, and one for actions."""

    source: str
    target: str
    label: tuple[str, ...] = ()


@frozen
class Diagram:
    """A diagram; shapes and arrows are in document order."""

    title: str
    shapes: tuple[Shape, ...]
    arrows: tuple[Arrow, ...]

    def all(self) -> Iterator[Shape]:
        """Yield each shape, before those inside it."""
        return _all(self.shapes)


def _all(shapes: Iterable[Shape]) -> Iterator[Shape]:
    for shape in shapes:
        yield shape
        yield from _all(shape.inside)


def diagram(chart: Chart, configuration: Configuration | None = None) -> Diagram:
    """Return the diagram of `chart`. The nodes of `configuration`, if given, are marked as active."""
    builder = _DiagramBuilder(chart, configuration.members if configuration else frozenset())
    # Arrows first: making them records which pseudo-shapes they begin or end at.
    arrows = tuple(arrow for node in chart.nodes for arrow in builder.arrows(node))
    root = builder.shape(chart.root)
    return Diagram(chart.id, root.inside if root.kind == "compound" else (root,), arrows)


@define
class _DiagramBuilder:
    """The nodes that need a pseudo-shape: `any` for arrows that begin there, `anew` for arrows that end there."""

    chart: Chart
    active: frozenset[Node]
    ids: dict[tuple[Node, ShapeKind], str] = field(init=False)
    any: set[Node] = field(factory=set[Node])
    anew: set[Node] = field(factory=set[Node])

    def __attrs_post_init__(self) -> None:
        ids = _Ids()
        self.ids = {(node, "state"): ids.new(*_path(node)) for node in self.chart.nodes}
        for node in self.chart.nodes:
            for kind in _PSEUDO:
                self.ids[node, kind] = ids.new(self.ids[node, "state"], "initial" if kind == "start" else kind)

    def id_of(self, node: Node, kind: ShapeKind = "state") -> str:
        return self.ids[node, kind]

    def shape(self, node: Node) -> Shape:
        lines = tuple(_lines(node))
        has_children = bool(node.children)
        return Shape(
            id=self.id_of(node),
            kind="state" if node.type == "atomic" or (node.type == "parallel" and not has_children) else node.type,
            title=_title(node),
            lines=() if has_children else lines,
            inside=tuple(self.inside(node, lines)) if has_children else (),
            is_settled=node.type != "history" and any(map(has_settled_tag, (node, *node.ancestors))),
            is_active=node in self.active,
        )

    def inside(self, node: Node, lines: tuple[str, ...]) -> Iterator[Shape]:
        if node.type == "compound" and node.initial:
            yield Shape(self.id_of(node, "start"), "start")
        if lines or node in self.any:
            yield Shape(self.id_of(node, "any"), "any", "any state", lines)
        if node in self.anew:
            yield Shape(self.id_of(node, "anew"), "anew", f"\N{LEFTWARDS ARROW WITH HOOK} {_title(node)}")
        yield from map(self.shape, node.children.values())

    def arrows(self, node: Node) -> Iterator[Arrow]:
        if node.type == "compound" and node.initial:
            actions = _actions(node.initial.actions)
            yield Arrow(self.id_of(node, "start"), self.id_of(node.initial.target), (actions,) if actions else ())
        for target in node.defaults:
            yield Arrow(self.id_of(node), self.target_id(node, target), ("default",))
        for transition in node.transitions:
            for target in transition.targets or ():
                yield Arrow(self.source_id(node, target), self.target_id(node, target), _label(transition))

    def source_id(self, node: Node, target: Node) -> str:
        if node.parent is None or (node.children and (target is node or target.is_inside(node))):
            self.any.add(node)
            return self.id_of(node, "any")
        return self.id_of(node)

    def target_id(self, node: Node, target: Node) -> str:
        if target.children and (node is target or node.is_inside(target)):
            self.anew.add(target)
            return self.id_of(target, "anew")
        return self.id_of(target)


# Ids


_RESERVED = frozenset(
    {
        *("as", "class", "classdef", "click", "default", "direction", "end", "hide", "href", "note", "root", "scale"),
        *("constructor", "hasownproperty", "isprototypeof", "propertyisenumerable", "tolocalestring", "tostring"),
        *("state", "style", "valueof"),
    }
)
"""Words that Mermaid, or JavaScript beneath it, does not accept as an id, in any capitalization."""


class _Ids:
    """Unique, readable ids. Only names that differ in no letter or digit get a number."""

    def __init__(self) -> None:
        self.taken = set[str]()
        self.numbers = defaultdict[str, int](lambda: 1)  # of the ids that were wanted more than once

    def new(self, *path: str) -> str:
        """Return a new id for the node at `path`."""
        plain = "__".join(re.sub(r"\W+", "_", key, flags=re.ASCII).strip("_") or "odd" for key in path)
        wanted = plain if plain[0].isalpha() else f"state_{plain}"
        if wanted.lower() in _RESERVED or wanted.endswith(("_start", "_end")):  # Mermaid's own ids
            wanted += "_state"
        name = wanted
        while name in self.taken:
            self.numbers[wanted] += 1
            name = f"{wanted}_{self.numbers[wanted]}"
        self.taken.add(name)
        return name


def _path(node: Node) -> list[str]:
    return [each.key for each in reversed((node, *node.ancestors)) if each.parent] or [node.key]


def _title(node: Node) -> str:
    match node.history:
        case "deep":
            return "H*"
        case None:
            return node.key
        case _:
            return "H"


# Texts


def on_one_line(text: str) -> str:
    """Return `text` printable, with one blank for each run of blanks and line breaks."""
    return printable(" ".join(text.split()))


def _lines(node: Node) -> Iterator[str]:
    """Yield the lines of `node`: what it does without a transition to another node."""
    if node.entry:
        yield f"entry {_actions(node.entry)}"
    for invocation in node.invoke:
        yield f"invoke {_actor(node, invocation)}"
    for transition in node.transitions:
        if transition.targets is None:
            yield " ".join(_label(transition)) + (" (forbidden)" if transition.is_forbidding else "")
    if node.exit:
        yield f"exit {_actions(node.exit)}"


def _label(transition: Transition) -> tuple[str, ...]:
    guard = f" [{guard_text(transition.guard.reference)}]" if transition.guard else ""
    actions = _actions(transition.actions)
    return (f"{_trigger(transition)}{guard}", *([actions] if actions else []))


def _trigger(transition: Transition) -> str:
    source, descriptor = transition.source, transition.descriptor
    if not descriptor.startswith("xstate."):
        return descriptor or "always"
    named = {"xstate.route": "route", f"xstate.done.state.{source.id}": "done"}
    if descriptor.startswith("xstate.after."):
        delay = next((after.delay for after in source.after if after.event == descriptor), None)
        return descriptor if delay is None else f"after {_delay(delay)}"
    for invocation in source.invoke:
        actor = _actor(source, invocation)
        named[f"xstate.done.actor.{invocation.id}"] = f"{actor} done"
        named[f"xstate.error.actor.{invocation.id}"] = f"{actor} failed"
        named[f"xstate.snapshot.{invocation.id}"] = f"{actor} changed"
    return named.get(descriptor, descriptor)


def _delay(delay: str | float) -> str:
    """Return the delay's name, or its milliseconds in the largest unit of which there is at least one."""
    if isinstance(delay, str):
        return delay
    unit, size = next(((unit, size) for unit, size in _UNITS if delay >= size), _UNITS[-1])
    return f"{delay / size:.12g} {unit}"


_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))


def _actor(node: Node, invocation: InvokeSite) -> str:
    """Return the id of the actor, or the name of its source if the id is XState's default."""
    index = node.invoke.index(invocation)
    return name_of(invocation.reference) if invocation.id == f"{index}.{node.id}" else invocation.id


def _actions(actions: Iterable[ActionSite]) -> str:
    names = [_action(action.reference) for action in actions]
    return f"/ {', '.join(names)}" if names else ""


def _action(reference: Reference) -> str:
    match builtin_action(reference):
        case RaiseEvent(event=event):
            return f"raise {_type(literal_value(event))}"
        case SendTo(to=to, event=event):
            return f"send {_type(literal_value(event))} to {_known(literal_value(to))}"
        case _:
            return name_of(reference)


def _type(event: Any) -> str:
    return str(event["type"]) if is_object(event) and "type" in event else "..."


def _known(value: Any) -> str:
    return "..." if value is ABSENT else str(value)
