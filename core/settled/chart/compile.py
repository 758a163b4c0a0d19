"""From a config to a chart. Every fault is collected, so an author sees all of them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

from attrs import define, field

from settled.chart.chart import Chart
from settled.chart.config import (
    InvokeConfig,
    MachineConfig,
    Named,
    NodeType,
    Reference,
    SingleOrArray,
    StateConfig,
    TransitionConfig,
)
from settled.chart.config_reader import config_from
from settled.chart.nodes import (
    ActionSite,
    After,
    GuardSite,
    Initial,
    InvokeSite,
    Node,
    Transition,
    child_of,
    descend,
    entered_by_default,
    is_wildcard,
    split,
)
from settled.chart.reachability import reach
from settled.data import ABSENT
from settled.errors import DefinitionError, DefinitionProblem

MAX_ITERATIONS = 1000
"""How many microsteps one event may cause before that counts as an endless loop, unless the config says so itself."""


def compile_chart(source: str | Mapping[str, Any] | MachineConfig) -> Chart:
    """The chart of a config, without logic.

    Raises:
        DefinitionError: with every fault of the config and of its targets.
    """
    config = source if isinstance(source, MachineConfig) else config_from(source)
    chart, faults = build_chart(config)
    if faults:
        raise DefinitionError(faults)
    return chart


# The chart. First the nodes grow, so that all can be found; then what refers to others is wired.


@define
class _ChartBuilder:
    """A chart in the making: the nodes so far, each with its config, and the faults.

    `named` are the nodes whose id is in the config; the ids that XState makes up from keys may coincide.
    """

    id: str
    nodes: list[tuple[Node, StateConfig]] = field(factory=list[tuple[Node, StateConfig]])
    ids: dict[str, Node] = field(factory=dict[str, Node])
    named: set[Node] = field(factory=set[Node])
    faults: list[DefinitionProblem] = field(factory=list[DefinitionProblem])

    def find(self, path: str, remedy: str, binder: Callable[..., Node], *where: Any) -> Node | None:
        """The node that `look_up` finds; if there is none, a fault."""
        try:
            return binder(*where)
        except LookupError as error:
            self.faults.append(DefinitionProblem(path, str(error.args[0]), remedy))
            return None


def build_chart(config: MachineConfig) -> tuple[Chart, list[DefinitionProblem]]:
    """Return the chart of `config`, and every fault found on the way; with a fault, the chart is incomplete."""
    builder = _ChartBuilder(config.id)
    _add_node(builder, config.root, config.id, None, "")
    chart = Chart(
        id=config.id,
        nodes=tuple(node for node, _ in builder.nodes),
        ids=builder.ids,
        max_iterations=config.options.max_iterations or MAX_ITERATIONS,
    )
    for node, own in builder.nodes:
        _link(builder, chart, node, own)
    _link_routes(builder, chart)
    builder.faults += [*_together(chart), *_endless(chart)]
    return chart, builder.faults


def _add_node(builder: _ChartBuilder, config: StateConfig, key: str, parent: Node | None, path: str) -> Node:
    keys = [] if parent is None else [*_keys(parent), key]
    node = Node(
        key=key,
        id=config.id or ".".join([builder.id, *keys]),
        type=_type(config),
        order=len(builder.nodes),
        parent=parent,
        path=path,
        ancestors=() if parent is None else (parent, *parent.ancestors),
    )
    if node.id in builder.ids and (config.id or builder.ids[node.id] in builder.named):
        other = builder.ids[node.id].path or "the root"
        builder.faults.append(
            DefinitionProblem(_below(path, "id"), f'the id "{node.id}" is taken by {other}', "Ids are unique.")
        )
    if config.id:
        builder.named.add(node)
    builder.ids[node.id] = node
    builder.nodes.append((node, config))
    node.children = {
        name: _add_node(builder, inner, name, node, f"{_below(path, 'states')}.{name}")
        for name, inner in config.states.items()
    }
    node.last = len(builder.nodes) - 1
    node.states = tuple(child for child in node.children.values() if child.type != "history")
    node.histories = tuple(child for child in node.children.values() if child.type == "history")
    return node


def _keys(node: Node) -> list[str]:
    return [each.key for each in reversed((node, *node.ancestors)) if each.parent]


def _type(config: StateConfig) -> NodeType:
    if config.type:
        return config.type
    if config.states:
        return "compound"
    return "history" if config.history else "atomic"


def _link(builder: _ChartBuilder, chart: Chart, node: Node, config: StateConfig) -> None:
    node.tags, node.meta, node.description = config.tags, config.meta, config.description
    node.output = config.output if node.type == "final" or node.parent is None else ABSENT
    node.entry = _actions(config.entry, _below(node.path, "entry"))
    node.exit = _actions(config.exit, _below(node.path, "exit"))
    node.invoke = tuple(_invocations(node, config))
    node.after = tuple(_afters(node, config))
    node.initial = _initial(builder, node, config)
    if node.type == "history":
        node.history = config.history or "shallow"
        node.defaults = _defaults(builder, chart, node, config)
    _link_transitions(builder, chart, node, config)


def _initial(builder: _ChartBuilder, node: Node, config: StateConfig) -> Initial | None:
    path = _below(node.path, "initial")
    if config.initial is None or (not config.initial.target and "" not in node.children):
        if node.type == "compound":
            first = next(iter(node.children), "...")
            builder.faults.append(
                DefinitionProblem(path, f'"{node.id}" has no initial state', f'Add "initial": "{first}".')
            )
        return None
    if node.type not in ("compound", "parallel"):
        return None
    target = builder.find(path, _children_of(node), child_of, node, config.initial.target)
    return None if target is None else Initial(target, _actions(config.initial.actions, f"{path}.actions"))


def _defaults(builder: _ChartBuilder, chart: Chart, node: Node, config: StateConfig) -> tuple[Node, ...]:
    def binder(target: str) -> Node:
        return chart.find(target) if target.startswith("#") else descend(node.parent or node, split(target))

    targets = config.target.at(f"{node.path}.target") if config.target else ()
    found = [builder.find(path, _children_of(node.parent), binder, target) for path, target in targets]
    return tuple(target for target in found if target)


def _invocations(node: Node, config: StateConfig) -> Iterator[InvokeSite]:
    for index, (path, invoke) in enumerate(config.invoke.at(_below(node.path, "invoke"))):
        default = f"{index}.{node.id}"
        yield InvokeSite(
            id=default if invoke.id is None else invoke.id,
            src=invoke.src.type if isinstance(invoke.src, Named) else f"xstate.invoke.{default}",
            reference=invoke.src,
            path=f"{path}.src",
            system_id=invoke.system_id,
            input=invoke.input,
            sync=invoke.on_snapshot is not None,
        )


def _afters(node: Node, config: StateConfig) -> Iterator[After]:
    for key in config.after:
        delay = _number(key)
        yield After(delay, f"xstate.after.{delay}.{node.id}", f"{_below(node.path, 'after')}.{key}")


_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def _number(key: str) -> str | float:
    """A key of ``after`` as JavaScript reads it: as a number if it can be one."""
    if not _NUMBER.fullmatch(key):
        return key
    number = float(key)
    return int(number) if number.is_integer() else number


def _link_transitions(builder: _ChartBuilder, chart: Chart, node: Node, config: StateConfig) -> None:
    table: dict[str, tuple[Transition, ...]] = {}
    for descriptor, path, several in _transition_configs(node, config):
        if not descriptor:
            builder.faults.append(DefinitionProblem(path, "an event has no empty name", 'Use "always".'))
        table[descriptor] = _transitions(builder, chart, node, descriptor, several, path)
    for after, (key, several) in zip(node.after, config.after.items(), strict=True):
        own = _transitions(builder, chart, node, after.event, several, f"{_below(node.path, 'after')}.{key}")
        table[after.event] = table.get(after.event, ()) + own
    if config.always:
        node.always = _transitions(builder, chart, node, "", config.always, _below(node.path, "always"))
    _set_table(node, table)


def _set_table(node: Node, table: Mapping[str, tuple[Transition, ...]]) -> None:
    wild = [(descriptor, found) for descriptor, found in table.items() if is_wildcard(descriptor)]
    node.on = table
    node.wildcards = tuple(sorted(wild, key=lambda item: -len(item[0])))


def _transition_configs(node: Node, config: StateConfig) -> Iterator[tuple[str, str, SingleOrArray[TransitionConfig]]]:
    for descriptor, several in config.on.items():
        yield descriptor, f"{_below(node.path, 'on')}.{descriptor}", several
    if config.on_done:
        yield f"xstate.done.state.{node.id}", _below(node.path, "onDone"), config.on_done
    for invocation, (path, invoke) in zip(node.invoke, config.invoke.at(_below(node.path, "invoke")), strict=True):
        yield from _reports(invocation.id, path, invoke)


def _reports(id: str, path: str, invoke: InvokeConfig) -> Iterator[tuple[str, str, SingleOrArray[TransitionConfig]]]:
    if invoke.on_done:
        yield f"xstate.done.actor.{id}", f"{path}.onDone", invoke.on_done
    if invoke.on_error:
        yield f"xstate.error.actor.{id}", f"{path}.onError", invoke.on_error
    if invoke.on_snapshot:
        yield f"xstate.snapshot.{id}", f"{path}.onSnapshot", invoke.on_snapshot


def _transitions(
    builder: _ChartBuilder,
    chart: Chart,
    node: Node,
    descriptor: str,
    several: SingleOrArray[TransitionConfig],
    path: str,
) -> tuple[Transition, ...]:
    return tuple(_transition(builder, chart, node, descriptor, config, place) for place, config in several.at(path))


def _transition(
    builder: _ChartBuilder, chart: Chart, node: Node, descriptor: str, config: TransitionConfig, path: str
) -> Transition:
    return Transition(
        source=node,
        descriptor=descriptor,
        path=path,
        targets=None if config.target is None else _targets(builder, chart, node, config.target, f"{path}.target"),
        guard=_guard(config.guard, f"{path}.guard"),
        actions=_actions(config.actions, f"{path}.actions"),
        reenter=config.reenter,
        meta=config.meta,
        description=config.description,
    )


def _targets(
    builder: _ChartBuilder, chart: Chart, node: Node, several: SingleOrArray[str], path: str
) -> tuple[Node, ...]:
    found = (
        builder.find(place, _remedy(node, target), _target, chart, node, target) for place, target in several.at(path)
    )
    return tuple(target for target in found if target)


def _together(chart: Chart) -> Iterator[DefinitionProblem]:
    """Faults of targets that no machine can be in at once, wherever it may be asked to. A step refuses the others."""
    wrong = [
        (node, path, one, other)
        for node in chart.nodes
        for path, targets in _target_sets(node)
        for one, other in combinations(dict.fromkeys(targets), 2)
        if not _can_be_active_together(one, other)
    ]
    reached = reach(chart).all if wrong else frozenset[Node]()
    for node, path, one, other in wrong:
        if node in reached:
            problem = f'"{one.id}" and "{other.id}" are never active together'
            yield DefinitionProblem(path, problem, "Several targets are in several regions of a parallel state.")


def _target_sets(node: Node) -> Iterator[tuple[str, tuple[Node, ...]]]:
    yield f"{node.path}.target", node.defaults
    yield from ((f"{transition.path}.target", transition.targets or ()) for transition in node.transitions)


def _endless(chart: Chart) -> Iterator[DefinitionProblem]:
    """Faults of histories that, while they remember nothing, stand for what is entered by asking them again."""
    for node in chart.nodes:
        if node.type == "history" and node in _inside(node):
            remedy = 'Give it another "target", or its parent another "initial".'
            yield DefinitionProblem(node.path, f'"{node.id}" leads back to itself while it remembers nothing', remedy)


def _inside(history: Node) -> set[Node]:
    found, new = set[Node](), {history}
    while new:
        new = {inner for node in new for inner in entered_by_default(node)} - found
        found |= new
    return found


def _can_be_active_together(one: Node, other: Node) -> bool:
    """Whether the two are in different regions of a parallel node; a history stands for all of its parent."""
    one, other = _restored(one), _restored(other)
    around = next((node for node in one.ancestors if node in other.ancestors), None)
    is_nested = one.is_inside(other) or other.is_inside(one)
    return around is not None and around.type == "parallel" and not is_nested


def _restored(node: Node) -> Node:
    return node.parent if node.type == "history" and node.parent else node


def _target(chart: Chart, node: Node, target: str) -> Node:
    if target.startswith("#"):
        return chart.find(target)
    if target.startswith("."):
        return descend(node, split(target[1:]))
    if node.parent is None:
        raise LookupError(f'the root has no sibling "{target}"')
    return descend(node.parent, split(target))


def _link_routes(builder: _ChartBuilder, chart: Chart) -> None:
    routes = tuple(
        Transition(
            source=chart.root,
            descriptor="xstate.route",
            path=f"{node.path}.route",
            targets=(node,),
            guard=_guard(config.route.guard, f"{node.path}.route.guard"),
            actions=_actions(config.route.actions, f"{node.path}.route.actions"),
            reenter=config.route.reenter,
            route=f"#{config.id}",
            meta=config.route.meta,
            description=config.route.description,
        )
        for node, config in builder.nodes
        if config.route and config.id and node.parent
    )
    if routes:
        _set_table(chart.root, {**chart.root.on, "xstate.route": routes})


def _actions(several: SingleOrArray[Reference], path: str) -> tuple[ActionSite, ...]:
    return tuple(ActionSite(reference, place) for place, reference in several.at(path))


def _guard(reference: Reference | None, path: str) -> GuardSite | None:
    return None if reference is None else GuardSite(reference, path)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _remedy(node: Node, target: str) -> str:
    if node.parent is None and not target.startswith((".", "#")):
        return f'Did you mean ".{target}"?'
    wanted = split(target)[-1]
    around = node if target.startswith(".") else node.parent or node
    return f"{_did_you_mean(wanted, around.children)}{_children_of(around)}"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 (only when something is wrong)

    close = get_close_matches(word, known, n=1)
    return f'Did you mean "{close[0]}"? ' if close else ""


def _children_of(node: Node | None) -> str:
    if node is None or not node.children:
        return ""
    return f'States of "{node.id}": {", ".join(node.children)}.'
