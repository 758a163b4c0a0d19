"""One microstep: exit nodes, run the transitions' actions, enter nodes.

Their order is SCXML's, with XState v5's differences. Nodes are exited innermost first and entered outermost first. For
a node that is exited: its exit actions, the cancels of its delays, the stops of its actors. For one that is entered:
its entry actions, its delays, the starts of its actors, the actions of its default entry. Each action sees the context
that the one before it left behind.

All of this follows from the configuration, the transitions and the recorded histories, before anything runs. So a
microstep is first planned and then performed, and a plan may be cached and performed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field, frozen

from settled.chart.chart import Configuration
from settled.chart.nodes import Node, Transition, history_default, in_document_order, is_final
from settled.chart.snapshot import NO_CHILDREN, NewSnapshot, read_only
from settled.step.history import History, HistoryView, domain, effective_targets, exit_set, without_conflicts
from settled.step.operations import Operation, Operations, perform
from settled.step.state import StepState


@frozen(eq=False)
class Plan:
    """A microstep, as far as it is decided before anything runs.

    `recorded_history` is what the history nodes of the exited nodes record. `depends_on_history` is whether another
    recorded history might have led to another plan. `is_done` is whether the machine has completed.
    """

    operations: tuple[Operation, ...]
    configuration: Configuration
    recorded_history: History
    is_done: bool
    depends_on_history: bool


def microstep(plan: Plan, step: StepState) -> None:
    """Perform `plan` and move `step` to the snapshot that follows, which is the same object if nothing has changed."""
    before = step.snapshot
    if plan.recorded_history:
        step.history = read_only({**step.history, **plan.recorded_history})
    if plan.operations:
        perform(plan.operations, step)
    # The identity matters, not only the equality: the macrostep stops selecting eventless transitions after one of them
    # that gave back the very same snapshot.
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
    """Plan the microstep that takes `transitions`, except those that lose a conflict."""
    view = HistoryView(operations.program.chart, history)
    taken = without_conflicts(transitions, configuration, view)
    exited = {node for transition in taken for node in exit_set(transition, configuration, view)}
    # Recorded from the configuration before the exit: afterwards there is nothing left to record.
    recorded = _recorded_history(configuration, exited)
    builder = _PlanBuilder(operations, set(configuration.nodes))
    builder.exit(exited)
    builder.run_actions(taken)
    # Entering sees what this very microstep recorded: a transition out of a node to that node's own history restores
    # the nodes exited now, not those of an earlier exit. (Exits and conflicts, above, see the history before.)
    entry = _EntrySet(HistoryView(view.chart, {**history, **recorded}))
    for transition in taken:
        entry.add_targets(transition)
    builder.enter(entry.nodes, entry.by_default)
    return builder.plan(recorded, depends_on_history=view.was_read or entry.view.was_read)


def plan_start(operations: Operations) -> Plan:
    """Plan the microstep that enters the machine."""
    chart = operations.program.chart
    entry, builder = _EntrySet(HistoryView(chart, {})), _PlanBuilder(operations, {chart.root})
    entry.add(chart.root)
    builder.enter(entry.nodes, entry.by_default)
    return builder.plan({}, depends_on_history=False)


# Exiting


def _recorded_history(configuration: Configuration, exited: Iterable[Node]) -> History:
    return {
        history.id: tuple(each.id for each in configuration.nodes if _is_recorded(each, node, history))
        for node in exited
        for history in node.histories
    }


def _is_recorded(node: Node, exited: Node, history: Node) -> bool:
    if history.history == "deep":
        # Leaves are enough: entering them adds the ancestors.
        return node.is_atomic and node.is_inside(exited)
    return node.parent is exited


# Entering


@define
class _EntrySet:
    """SCXML's ``computeEntrySet``: the nodes to enter, and those entered by default, whose initial actions run too."""

    view: HistoryView
    nodes: set[Node] = field(factory=set[Node])
    by_default: set[Node] = field(factory=set[Node])

    def add_targets(self, transition: Transition) -> None:
        """Add what `transition` enters inside its domain, given the histories recorded by now."""
        around = domain(transition, self.view)
        source, targets = transition.source, transition.targets or ()
        for target in targets:
            # A transition to its own source without `reenter` does not exit the source, so it must not enter it again:
            # its entry actions would run a second time. Only its descendants are entered anew.
            if target is source and target is around and not transition.reenter:
                self.add_inside(target)
            else:
                self.add(target)
        # Ancestors after all targets: `add_regions` enters only those regions that no target is in.
        for target in effective_targets(targets, self.view):
            self.add_ancestors(target, around)
            # XState's domain may be a parallel node (SCXML's may not). All of its regions were exited then, so those
            # without a target must be entered by default, or the configuration would lack them.
            if around is not None and around.type == "parallel":
                self.add_regions(around, is_default=False)

    def add(self, node: Node) -> None:
        """Add `node`, entered by default, and what is entered inside it."""
        # A history node is only a reference to others; it is never active itself.
        if node.type != "history":
            self.nodes.add(node)
            self.by_default.add(node)
        self.add_inside(node)

    def add_inside(self, node: Node) -> None:
        """Add what is entered inside `node` by default; for a history, the nodes it stands for."""
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
        """Add what `history` has recorded, or else its defaults, and the ancestors between them and its parent."""
        targets = self.view.recorded(history)
        if targets is None:
            targets = history_default(history)
            # A history without a default stands for its parent's initial, and then the initial's actions run as well.
            if not history.defaults and history.parent is not None:
                self.by_default.add(history.parent)
        # Not `by_default`: in XState the initial actions of a compound node that was recorded do not run; SCXML's do.
        for target in targets:
            if target.type != "history":
                self.nodes.add(target)
            self.add_inside(target)
        # In a second pass, for the same reason as in `add_targets`.
        for target in targets:
            self.add_ancestors(target, history.parent)

    def add_ancestors(self, node: Node, around: Node | None) -> None:
        """Add the ancestors of `node` inside `around`, and the other regions of those that are parallel."""
        for ancestor in () if node is around else node.ancestors:
            if ancestor is around:
                break
            # Not `by_default`: a target inside it was chosen, so its initial actions do not run.
            self.nodes.add(ancestor)
            if ancestor.type == "parallel":
                self.add_regions(ancestor, is_default=False)

    def add_regions(self, parallel: Node, is_default: bool = True) -> None:
        """Add each region of `parallel` that contains no node to be entered yet.

        `is_default` is False if `parallel` was not itself a target or a default: then XState does not run the initial
        actions of the regions it adds. SCXML does.
        """
        for region in parallel.states:
            if any(node.is_inside(region) for node in self.nodes):
                continue
            self.nodes.add(region)
            if is_default:
                self.by_default.add(region)
            self.add_inside(region)


# The operations and their order


@define
class _PlanBuilder:
    """The operations so far, in order, and the nodes that are active after them."""

    factory: Operations
    active: set[Node]
    operations: list[Operation] = field(factory=list[Operation])
    is_done: bool = False

    def plan(self, recorded: Mapping[str, tuple[str, ...]], *, depends_on_history: bool) -> Plan:
        """Return the plan built so far."""
        chart = self.factory.program.chart
        configuration = chart.configuration(self.active)
        # Missing parents alone are tolerated until the step ends, because XState passes through such configurations
        # (see `Configuration`); anything else illegal, such as two children of a compound node, fails the step.
        if not chart.with_missing_parents(configuration).is_legal:
            self.operations = [self.factory.fail_as_illegal(configuration)]
        elif self.is_done:
            # A machine that is done runs all exit actions, yet its snapshot keeps the nodes active: that is its value.
            # Its actors are stopped at the end of the macrostep, not here.
            for node in reversed(in_document_order(self.active)):
                self.operations += self.exit_operations(node)
        return Plan(tuple(self.operations), configuration, recorded, self.is_done, depends_on_history)

    def exit(self, nodes: Iterable[Node]) -> None:
        """Exit `nodes`."""
        for node in reversed(in_document_order(nodes)):
            self.operations += self.exit_operations(node)
            self.operations += (self.factory.stop_actor(invocation) for invocation in node.invoke)
            self.active.discard(node)

    def exit_operations(self, node: Node) -> Iterator[Operation]:
        """Yield the exit actions of `node` and the cancels of its delays."""
        yield from (self.factory.run_action(action) for action in node.exit)
        yield from (self.factory.cancel_delay(after) for after in node.after)

    def run_actions(self, transitions: Iterable[Transition]) -> None:
        """Run the actions of `transitions`."""
        self.operations += (self.factory.run_action(action) for each in transitions for action in each.actions)

    def enter(self, nodes: Iterable[Node], by_default: set[Node]) -> None:
        """Enter `nodes`, and complete those that entering final nodes completes."""
        completed: set[Node] = set()
        for node in in_document_order(nodes):
            self.active.add(node)
            self.operations += self.entry_operations(node, node in by_default)
            # At once, not after the loop: the output sees the context as it is here, and the done event is queued
            # before anything that later nodes raise on entry.
            if node.type == "final":
                self.complete(node, completed)

    def entry_operations(self, node: Node, is_default: bool) -> Iterator[Operation]:
        """Yield what is done on entering `node`.

        XState starts a node's actors as it enters the node; SCXML waits until the macrostep is over.
        """
        # Entry actions run before the actors start, but may send to them already.
        starting = tuple(invocation.id for invocation in node.invoke)
        yield from (self.factory.run_action(action, starting) for action in node.entry)
        yield from (self.factory.start_delay(after) for after in node.after)
        yield from (self.factory.start_actor(invocation) for invocation in node.invoke)
        if is_default and node.initial:
            yield from (self.factory.run_action(action, starting) for action in node.initial.actions)

    def complete(self, node: Node, completed: set[Node]) -> None:
        """Raise the done events that entering the final `node` causes; end the machine if that completes its root."""
        parent = node.parent
        if parent is not None and parent.type == "compound":
            self.operations.append(self.factory.raise_done(parent, node))
        # A compound node that is done completes a parallel parent, but not a compound grandparent: only a final child
        # of its own does that. So the chain goes up through parallel nodes alone (SCXML looks at one of them only).
        around = parent if parent is None or parent.type == "parallel" else parent.parent
        last = around or node
        while (
            around is not None
            and around.type == "parallel"
            and around not in completed  # several regions may end in this microstep; the parallel is done once
            and is_final(around, self.active)
        ):
            completed.add(around)
            self.operations.append(self.factory.raise_done(around, None))
            last, around = around, around.parent
        # Past the root: `last` is a final child of the root, or the root itself if it is final or parallel.
        if around is None:
            self.is_done = True
            self.operations.append(self.factory.finish(last))
