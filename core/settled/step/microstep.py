"""One microstep: leave, act, enter.

The order is the whole meaning: nodes are left innermost first and entered outermost first; a node's exit actions,
then the cancels of its delays, then the stops of its actors; a node's entry actions, then its delays, then its actors,
then the actions of its default entry. Each action sees the context that the one before it left behind. What
a history remembers is noted before anything is left.

All of this follows from the configuration, the transitions and the histories, before anything runs. So a microstep is
first planned, and then performed; a plan may be kept and performed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field, frozen

from settled.chart.chart import Configuration
from settled.chart.nodes import Node, Transition, default_of, in_order, is_final
from settled.chart.snapshot import NO_CHILDREN, NewSnapshot
from settled.step.history import History, HistoryView, domain, effective_targets, exit_set, without_conflicts
from settled.step.operations import Operation, Operations, perform
from settled.step.state import StepState


@frozen(eq=False)
class Plan:
    """A microstep, as far as it is decided before anything runs.

    `recorded_history` is what the history nodes remember from now on. `depends_on_history` is whether they might make
    it another plan by remembering something else.
    """

    operations: tuple[Operation, ...]
    configuration: Configuration
    recorded_history: History
    is_done: bool
    depends_on_history: bool


def microstep(plan: Plan, step: StepState) -> None:
    """Perform `plan`, and bring `step` to the snapshot that follows; if nothing has changed, that is the same one."""
    before = step.snapshot
    if plan.recorded_history:
        step.history = {**step.history, **plan.recorded_history}
    if plan.operations:
        perform(plan.operations, step)
    if not step.is_changed and not plan.recorded_history and plan.configuration == before.configuration:
        step.finish_microstep(before)
        return
    after = NewSnapshot(
        plan.configuration,
        step.context,
        "done" if plan.is_done else before.status,
        step.output,
        before.error,
        step.children or NO_CHILDREN,
        step.history,
    )
    step.finish_microstep(after)


def plan_microstep(
    operations: Operations, configuration: Configuration, transitions: Sequence[Transition], history: History
) -> Plan:
    """The microstep that takes `transitions`."""
    view = HistoryView(operations.program.chart, history)
    taken = without_conflicts(transitions, configuration, view)
    left = {node for transition in taken for node in exit_set(transition, configuration, view)}
    recorded = _recorded_history(configuration, left)
    planning = _PlanBuilder(operations, set(configuration.nodes))
    planning.leave(left)
    planning.act(taken)
    entry = _EntrySet(HistoryView(view.chart, {**history, **recorded}))
    for transition in taken:
        entry.add_targets(transition)
    planning.enter(entry.nodes, entry.by_default)
    return planning.plan(recorded, depends_on_history=view.was_read or entry.view.was_read)


def plan_start(operations: Operations) -> Plan:
    """The microstep that enters the machine."""
    chart = operations.program.chart
    entry, planning = _EntrySet(HistoryView(chart, {})), _PlanBuilder(operations, {chart.root})
    entry.add(chart.root)
    planning.enter(entry.nodes, entry.by_default)
    return planning.plan({}, depends_on_history=False)


# Leaving.


def _recorded_history(configuration: Configuration, left: Iterable[Node]) -> History:
    return {
        history.id: tuple(each.id for each in configuration.nodes if _is_recorded(each, node, history))
        for node in left
        for history in node.histories
    }


def _is_recorded(node: Node, left: Node, history: Node) -> bool:
    if history.history == "deep":
        return node.is_atomic and node.is_inside(left)
    return node.parent is left


# Entering.


@define
class _EntrySet:
    """Which nodes are to be entered, and which of them by default: those also run their initial actions."""

    view: HistoryView
    nodes: set[Node] = field(factory=set[Node])
    by_default: set[Node] = field(factory=set[Node])

    def add_targets(self, transition: Transition) -> None:
        """What `transition` enters inside its domain, as the histories are by now."""
        around = domain(transition, self.view)
        source, targets = transition.source, transition.targets or ()
        for target in targets:
            # A transition to its own source that does not reenter stays in it, and only what is inside is entered.
            if target is source and target is around and not transition.reenter:
                self.add_inside(target)
            else:
                self.add(target)
        for target in effective_targets(targets, self.view):
            self.add_ancestors(target, around)
            if around is not None and around.type == "parallel":
                self.add_regions(around, is_default=False)

    def add(self, node: Node) -> None:
        """`node`, entered by default, and what is entered inside it."""
        if node.type != "history":
            self.nodes.add(node)
            self.by_default.add(node)
        self.add_inside(node)

    def add_inside(self, node: Node) -> None:
        """What is entered inside `node` by default; if it is a history, what it stands for."""
        match node.type:
            case "history":
                self.add_history_targets(node)
            case "compound" if node.initial:
                self.add(node.initial.target)
            case "parallel":
                self.add_regions(node)
            case _:
                pass

    def add_history_targets(self, history: Node) -> None:
        """What `history` remembers, or its default, and the ancestors on the way to it."""
        targets = self.view.remembered(history)
        if targets is None:
            targets = default_of(history)
            if not history.defaults and history.parent is not None:
                self.by_default.add(history.parent)
        for target in targets:
            if target.type != "history":
                self.nodes.add(target)
            self.add_inside(target)
        for target in targets:
            self.add_ancestors(target, history.parent)

    def add_ancestors(self, node: Node, around: Node | None) -> None:
        """The ancestors of `node` inside `around`, and the other regions of those that are parallel."""
        for ancestor in () if node is around else node.ancestors:
            if ancestor is around:
                break
            self.nodes.add(ancestor)
            if ancestor.type == "parallel":
                self.add_regions(ancestor, is_default=False)

    def add_regions(self, parallel: Node, is_default: bool = True) -> None:
        """Each region of `parallel` that nothing inside of is being entered yet."""
        for region in parallel.states:
            if any(node.is_inside(region) for node in self.nodes):
                continue
            self.nodes.add(region)
            if is_default:
                self.by_default.add(region)
            self.add_inside(region)


# The order.


@define
class _PlanBuilder:
    """The operations so far, in order, and the nodes that are active after them."""

    make: Operations
    active: set[Node]
    operations: list[Operation] = field(factory=list[Operation])
    is_done: bool = False

    def plan(self, recorded: Mapping[str, tuple[str, ...]], *, depends_on_history: bool) -> Plan:
        """What it has come to. A machine that is done leaves all its nodes, though they stay active."""
        chart = self.make.program.chart
        configuration = chart.configuration(self.active)
        if not chart.with_missing_parents(configuration).is_legal:
            self.operations = [self.make.refuse(configuration)]
        elif self.is_done:
            for node in reversed(in_order(self.active)):
                self.operations += self.exit(node)
        return Plan(tuple(self.operations), configuration, recorded, self.is_done, depends_on_history)

    def leave(self, nodes: Iterable[Node]) -> None:
        """Leave `nodes`."""
        for node in reversed(in_order(nodes)):
            self.operations += self.exit(node)
            self.operations += (self.make.stop_actor(invocation) for invocation in node.invoke)
            self.active.discard(node)

    def exit(self, node: Node) -> Iterator[Operation]:
        """What is done on leaving `node`."""
        yield from (self.make.act(action) for action in node.exit)
        yield from (self.make.cancel_delay(after) for after in node.after)

    def act(self, transitions: Iterable[Transition]) -> None:
        """Run the actions of `transitions`."""
        self.operations += (self.make.act(action) for each in transitions for action in each.actions)

    def enter(self, nodes: Iterable[Node], by_default: set[Node]) -> None:
        """Enter `nodes`, and end those that their final nodes end."""
        completed: set[Node] = set()
        for node in in_order(nodes):
            self.active.add(node)
            self.operations += self.entry(node, node in by_default)
            if node.type == "final":
                self.complete(node, completed)

    def entry(self, node: Node, is_default: bool) -> Iterator[Operation]:
        """What is done on entering `node`."""
        awaited = tuple(invocation.id for invocation in node.invoke)
        yield from (self.make.act(action, awaited) for action in node.entry)
        yield from (self.make.start_delay(after) for after in node.after)
        yield from (self.make.start_actor(invocation) for invocation in node.invoke)
        if is_default and node.initial:
            yield from (self.make.act(action, awaited) for action in node.initial.actions)

    def complete(self, node: Node, completed: set[Node]) -> None:
        """Raise the done events that entering the final `node` causes; end the machine if that completes its root."""
        parent = node.parent
        if parent is not None and parent.type == "compound":
            self.operations.append(self.make.tell_done(parent, node))
        around = parent if parent is None or parent.type == "parallel" else parent.parent
        last = around or node
        while (
            around is not None
            and around.type == "parallel"
            and around not in completed
            and is_final(around, self.active)
        ):
            completed.add(around)
            self.operations.append(self.make.tell_done(around, None))
            last, around = around, around.parent
        if around is None:
            self.is_done = True
            self.operations.append(self.make.finish(last))
