"""Link the nodes of a chart: give each its transitions, targets and sites, now that every node can be found.

Targets are resolved here; the names of actions, guards and actors are not (see `settled.chart.resolve`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import define, field

from settled.chart.chart import Chart
from settled.chart.config import InvokeConfig, Named, Reference, SingleOrArray, StateConfig, TransitionConfig
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
    is_wildcard,
    split_path,
)
from settled.chart.problems import did_you_mean, join_path, listed
from settled.data import ABSENT
from settled.errors import DefinitionProblem


def link(chart: Chart, nodes: Sequence[tuple[Node, StateConfig]]) -> list[DefinitionProblem]:
    """Link all `nodes` of `chart`, given with their configs, and return a problem for each target that is not found."""
    linker = _Linker(chart)
    for node, config in nodes:
        linker.link(node, config)
    # The routes of all nodes are transitions of the root, and so come after the root's own.
    if routes := tuple(_routes(chart, nodes)):
        _set_transitions(chart.root, {**chart.root.on, "xstate.route": routes})
    return linker.problems


@define
class _Linker:
    chart: Chart
    problems: list[DefinitionProblem] = field(factory=list[DefinitionProblem])

    def link(self, node: Node, config: StateConfig) -> None:
        node.tags, node.meta, node.description = config.tags, config.meta, config.description
        node.output = config.output if node.type == "final" or node.parent is None else ABSENT
        node.entry = _actions(config.entry, join_path(node.path, "entry"))
        node.exit = _actions(config.exit, join_path(node.path, "exit"))
        node.invoke = tuple(_invoke_sites(node, config))
        node.after = tuple(_afters(node, config))
        node.initial = self._initial(node, config)
        if node.type == "history":
            node.history = config.history or "shallow"
            node.defaults = self._defaults(node, config)
        self._link_transitions(node, config)

    def _find(self, path: str, remedy: Callable[[], str], find: Callable[..., Node], *args: Any) -> Node | None:
        """Return the node that ``find(*args)`` finds; if it raises LookupError, add a problem and return None."""
        try:
            return find(*args)
        except LookupError as error:
            self.problems.append(DefinitionProblem(path, str(error.args[0]), remedy()))
            return None

    def _initial(self, node: Node, config: StateConfig) -> Initial | None:
        path = join_path(node.path, "initial")
        # An empty "initial" is none, as in XState, unless a child has the empty key.
        if config.initial is None or (not config.initial.target and "" not in node.children):
            if node.type == "compound":
                first = next(iter(node.children), "...")
                self.problems.append(
                    DefinitionProblem(path, f'"{node.id}" has no initial state', f'Add "initial": "{first}".')
                )
            return None
        if node.type not in ("compound", "parallel"):
            return None
        target = self._find(path, lambda: _list_children(node), child_of, node, config.initial.target)
        return None if target is None else Initial(target, _actions(config.initial.actions, f"{path}.actions"))

    def _defaults(self, node: Node, config: StateConfig) -> tuple[Node, ...]:
        """Return the ``target`` of a history; unlike that of a transition, it is relative to the parent."""

        def find(target: str) -> Node:
            if target.startswith("#"):
                return self.chart.find(target)
            return descend(node.parent or node, split_path(target))

        targets = config.target.at(f"{node.path}.target") if config.target else ()
        found = [self._find(path, lambda: _list_children(node.parent), find, target) for path, target in targets]
        return tuple(target for target in found if target)

    def _link_transitions(self, node: Node, config: StateConfig) -> None:
        table: dict[str, tuple[Transition, ...]] = {}
        for descriptor, path, configs in _transition_configs(node, config):
            if not descriptor:
                self.problems.append(DefinitionProblem(path, "an event type cannot be empty", 'Use "always".'))
            table[descriptor] = self._transitions(node, descriptor, configs, path)
        for after, (key, configs) in zip(node.after, config.after.items(), strict=True):
            own = self._transitions(node, after.event, configs, f"{join_path(node.path, 'after')}.{key}")
            # Two keys such as "10" and "1e1" are the same delay in JavaScript, and so share an event.
            table[after.event] = table.get(after.event, ()) + own
        if config.always:
            node.always = self._transitions(node, "", config.always, join_path(node.path, "always"))
        _set_transitions(node, table)

    def _transitions(
        self, node: Node, descriptor: str, configs: SingleOrArray[TransitionConfig], path: str
    ) -> tuple[Transition, ...]:
        return tuple(
            Transition(
                source=node,
                descriptor=descriptor,
                path=own_path,
                targets=None if config.target is None else self._targets(node, config.target, f"{own_path}.target"),
                guard=_guard(config.guard, f"{own_path}.guard"),
                actions=_actions(config.actions, f"{own_path}.actions"),
                reenter=config.reenter,
                meta=config.meta,
                description=config.description,
            )
            for own_path, config in configs.at(path)
        )

    def _targets(self, node: Node, targets: SingleOrArray[str], path: str) -> tuple[Node, ...]:
        found = (
            self._find(own_path, partial(_target_remedy, node, target), _target, self.chart, node, target)
            for own_path, target in targets.at(path)
        )
        return tuple(target for target in found if target)


def _routes(chart: Chart, nodes: Sequence[tuple[Node, StateConfig]]) -> Iterator[Transition]:
    """Yield a transition of the root to each node that has a ``route``. XState gives one only to explicit ids."""
    for node, config in nodes:
        if config.route and config.id and node.parent:
            yield Transition(
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


def _set_transitions(node: Node, table: Mapping[str, tuple[Transition, ...]]) -> None:
    wildcards = [(descriptor, transitions) for descriptor, transitions in table.items() if is_wildcard(descriptor)]
    node.on = table
    # The longest first, as `Node.candidates` promises.
    node.wildcards = tuple(sorted(wildcards, key=lambda item: -len(item[0])))


def _transition_configs(node: Node, config: StateConfig) -> Iterator[tuple[str, str, SingleOrArray[TransitionConfig]]]:
    """Yield (descriptor, path, configs) of each event of `node`, but for its delays, whose events may coincide."""
    for descriptor, configs in config.on.items():
        yield descriptor, f"{join_path(node.path, 'on')}.{descriptor}", configs
    if config.on_done:
        yield f"xstate.done.state.{node.id}", join_path(node.path, "onDone"), config.on_done
    for site, (path, invoke) in zip(node.invoke, config.invoke.at(join_path(node.path, "invoke")), strict=True):
        yield from _actor_events(site.id, path, invoke)


def _actor_events(
    id: str, path: str, invoke: InvokeConfig
) -> Iterator[tuple[str, str, SingleOrArray[TransitionConfig]]]:
    if invoke.on_done:
        yield f"xstate.done.actor.{id}", f"{path}.onDone", invoke.on_done
    if invoke.on_error:
        yield f"xstate.error.actor.{id}", f"{path}.onError", invoke.on_error
    if invoke.on_snapshot:
        yield f"xstate.snapshot.{id}", f"{path}.onSnapshot", invoke.on_snapshot


def _invoke_sites(node: Node, config: StateConfig) -> Iterator[InvokeSite]:
    for index, (path, invoke) in enumerate(config.invoke.at(join_path(node.path, "invoke"))):
        default_id = f"{index}.{node.id}"  # as XState's, because persisted snapshots hold it
        yield InvokeSite(
            id=default_id if invoke.id is None else invoke.id,
            src=invoke.src.type if isinstance(invoke.src, Named) else f"xstate.invoke.{default_id}",
            reference=invoke.src,
            path=f"{path}.src",
            system_id=invoke.system_id,
            input=invoke.input,
            sync=invoke.on_snapshot is not None,
        )


def _afters(node: Node, config: StateConfig) -> Iterator[After]:
    for key in config.after:
        delay = _delay(key)
        yield After(delay, f"xstate.after.{delay}.{node.id}", f"{join_path(node.path, 'after')}.{key}")


# No two repeated parts match the same text, so that a key of many digits takes linear time.
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def _delay(key: str) -> str | float:
    """Return a key of ``after`` as JavaScript reads it: as a number (milliseconds) if it can be one, else as a name."""
    if not _NUMBER.fullmatch(key):
        return key
    number = float(key)
    # The event's type contains the delay, and JavaScript writes 1000, not 1000.0.
    return int(number) if number.is_integer() else number


def _actions(references: SingleOrArray[Reference], path: str) -> tuple[ActionSite, ...]:
    return tuple(ActionSite(reference, own_path) for own_path, reference in references.at(path))


def _guard(reference: Reference | None, path: str) -> GuardSite | None:
    return None if reference is None else GuardSite(reference, path)


def _target(chart: Chart, node: Node, target: str) -> Node:
    """Find a transition's target: ``#id`` anywhere, ``.path`` inside `node`, any other path beside it."""
    if target.startswith("#"):
        return chart.find(target)
    if target.startswith("."):
        return descend(node, split_path(target[1:]))
    if node.parent is None:
        raise LookupError(f'the root has no sibling "{target}"')
    return descend(node.parent, split_path(target))


def _target_remedy(node: Node, target: str) -> str:
    if node.parent is None and not target.startswith((".", "#")):
        return f'Did you mean ".{target}"?'
    around = node if target.startswith(".") else node.parent or node
    suggestion = did_you_mean(split_path(target)[-1], around.children)
    return " ".join(part for part in (suggestion, _list_children(around)) if part)


def _list_children(node: Node | None) -> str:
    if node is None or not node.children:
        return ""
    return f'States of "{node.id}": {listed(node.children)}.'
