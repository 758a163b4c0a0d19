"""One microstep: leave, act, enter.

The order is the whole meaning: nodes are left innermost first and entered outermost first; a node's exit actions,
then the cancels of its delays, then the stops of its actors; a node's entry actions, then its delays, then its actors,
then the actions of its default entry. Each action sees the context that the one before it left behind. What
a history remembers is noted before anything is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never

import attrs
from attrs import define, evolve

from settled.actions import (
    INTERNAL,
    PARENT,
    ActionLike,
    Assign,
    CancelSend,
    EmitEvent,
    EnqueueActions,
    EnqueueArgs,
    LogValue,
    RaiseEvent,
    SendTo,
    SpawnChild,
    StopChild,
)
from settled.chart import Action, After, Invocation, Node, Transition, in_order, is_final
from settled.compile import Program
from settled.data import ABSENT, Json
from settled.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from settled.errors import LogicError
from settled.expression import Args, Expression
from settled.guards import GuardLike
from settled.logic import BoundAction, Custom
from settled.select import (
    History,
    Received,
    default_of,
    domain,
    effective_targets,
    exit_set,
    raised,
    without_conflicts,
)
from settled.snapshot import NO_CHILDREN, Child, Snapshot


@define
class Outbox:
    """What the microsteps of one step have left to do: effects for outside, and events for the machine itself.

    `elsewhere`: a name that no actor of this machine has may be that of another one.
    """

    first_index: int
    effects: list[Effect]
    queue: deque[Mapping[str, Any]]
    elsewhere: bool = False

    @property
    def next_index(self) -> int:
        return self.first_index + len(self.effects)


@define
class _Step:
    """A microstep under way. `before` is where it began; the rest is what it has come to so far.

    `awaited` are the actors of the node that is being entered, which its entry actions may address already.
    `is_changed` is whether there is a new snapshot, were it only an equal one: eventless transitions go on until
    a microstep gives back the very snapshot it was given.
    """

    program: Program
    before: Snapshot[Any]
    event: Received
    out: Outbox
    active: set[Node]
    context: Any
    children: Mapping[str, Child]
    history: History
    is_changed: bool = False
    is_done: bool = False
    output: Any = ABSENT
    awaited: tuple[str, ...] = ()

    def args(self) -> Args[Any, Any]:
        return Args(self.context, self.event.seen, self.before)


def microstep(
    program: Program, snapshot: Snapshot[Any], transitions: Sequence[Transition], event: Received, out: Outbox
) -> Snapshot[Any]:
    """The snapshot after `transitions`; if nothing has changed, `snapshot` itself."""
    if not transitions:
        return snapshot
    taken = without_conflicts(transitions, snapshot.configuration, snapshot.history, program)
    step = _begin(program, snapshot, event, out)
    _leave(step, taken)
    _act(step, [action for transition in taken for action in transition.actions])
    _enter(step, taken)
    return _end(step)


def initial_microstep(program: Program, snapshot: Snapshot[Any], event: Received, out: Outbox) -> Snapshot[Any]:
    """The snapshot after the machine has been entered; in `snapshot` it has a context and nothing more."""
    step = _begin(program, snapshot, event, out)
    entry = _Entry(step.history, program)
    entry.add(program.chart.root)
    _enter_nodes(step, entry.nodes, entry.by_default)
    return _end(step)


def _begin(program: Program, snapshot: Snapshot[Any], event: Received, out: Outbox) -> _Step:
    return _Step(
        program=program,
        before=snapshot,
        event=event,
        out=out,
        active=set(snapshot.configuration.nodes),
        context=snapshot.context,
        children=snapshot.children,
        history=snapshot.history,
    )


def _end(step: _Step) -> Snapshot[Any]:
    if step.is_done:
        _act_on_completion(step)
    configuration = step.program.chart.configuration(step.active)
    before = step.before
    if not step.is_changed and step.history is before.history and configuration == before.configuration:
        return before
    return Snapshot(
        configuration=configuration,
        context=step.context,
        status="done" if step.is_done else before.status,
        output=step.output,
        error=before.error,
        children=step.children or NO_CHILDREN,
        history=step.history,
    )


def _act_on_completion(step: _Step) -> None:
    for node in reversed(in_order(step.active)):
        _act_on_exit(step, node)


# Leaving.


def _leave(step: _Step, transitions: Iterable[Transition]) -> None:
    configuration, history = step.before.configuration, step.before.history
    left = {node for each in transitions for node in exit_set(each, configuration, history, step.program)}
    step.history = _remembering(step, left)
    for node in reversed(in_order(left)):
        _act_on_exit(step, node)
        for invocation in node.invoke:
            _stop(step, invocation.id)
        step.active.discard(node)


def _act_on_exit(step: _Step, node: Node) -> None:
    _act(step, node.exit)
    for after in node.after:
        step.out.effects.append(Cancel(step.out.next_index, after.event))


def _remembering(step: _Step, left: Iterable[Node]) -> History:
    active = step.before.configuration.nodes
    noted = {
        history.id: tuple(each.id for each in active if _is_noted(each, node, history))
        for node in left
        for history in node.histories
    }
    return {**step.history, **noted} if noted else step.history


def _is_noted(node: Node, left: Node, history: Node) -> bool:
    if history.history == "deep":
        return node.is_atomic and node.is_inside(left)
    return node.parent is left


# Entering.


@define
class _Entry:
    """Which nodes are to be entered, and which of them by default: those also run their initial actions."""

    history: History
    program: Program
    nodes: set[Node] = attrs.field(factory=set[Node])
    by_default: set[Node] = attrs.field(factory=set[Node])

    def add_targets(self, transition: Transition) -> None:
        """What `transition` enters inside its domain, as the histories are by now."""
        around = domain(transition, self.history, self.program)
        source, targets = transition.source, transition.targets or ()
        for target in targets:
            # A transition to its own source that does not reenter stays in it, and only what is inside is entered.
            if target is source and target is around and not transition.reenter:
                self.add_inside(target)
            else:
                self.add(target)
        for target in effective_targets(targets, self.history, self.program):
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
                self.add_recalled(node)
            case "compound" if node.initial:
                self.add(node.initial.target)
            case "parallel":
                self.add_regions(node)
            case _:
                pass

    def add_recalled(self, history: Node) -> None:
        """What `history` remembers, or its default, and the ancestors on the way to it."""
        remembered = self.history.get(history.id)
        if remembered is None:
            targets = default_of(history)
            if not history.defaults and history.parent is not None:
                self.by_default.add(history.parent)
        else:
            targets = in_order(self.program.chart.ids[id] for id in remembered)
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


def _enter(step: _Step, transitions: Iterable[Transition]) -> None:
    entry = _Entry(step.history, step.program)
    for transition in transitions:
        entry.add_targets(transition)
    _enter_nodes(step, entry.nodes, entry.by_default)


def _enter_nodes(step: _Step, nodes: set[Node], by_default: set[Node]) -> None:
    completed: set[Node] = set()
    for node in in_order(nodes):
        step.active.add(node)
        _act_on_entry(step, node, node in by_default)
        if node.type == "final":
            _complete(step, node, completed)


def _act_on_entry(step: _Step, node: Node, is_default: bool) -> None:
    step.awaited = tuple(invocation.id for invocation in node.invoke)
    _act(step, node.entry)
    for after in node.after:
        _start_delay(step, after)
    for invocation in node.invoke:
        _invoke(step, invocation)
    if is_default and node.initial:
        _act(step, node.initial.actions)
    step.awaited = ()


def _complete(step: _Step, node: Node, completed: set[Node]) -> None:
    """Raise the done events that entering the final `node` causes, and end the machine if that completes its root."""
    parent = node.parent
    if parent is not None and parent.type == "compound":
        _done(step, parent, _output(step, node, step.event))
    around = parent if parent is None or parent.type == "parallel" else parent.parent
    last = around or node
    while (
        around is not None and around.type == "parallel" and around not in completed and is_final(around, step.active)
    ):
        completed.add(around)
        _done(step, around, ABSENT)
        last, around = around, around.parent
    if around is None:
        step.is_done, step.is_changed = True, True
        step.output = _machine_output(step, last)


def _done(step: _Step, node: Node, output: Any) -> None:
    step.out.queue.append(_done_event(node, output))


def _done_event(node: Node, output: Any) -> Mapping[str, Any]:
    event = {"type": f"xstate.done.state.{node.id}"}
    return event if output is ABSENT else {**event, "output": output}


def _machine_output(step: _Step, last: Node) -> Any:
    own = ABSENT if last.parent is None else _output(step, last, step.event)
    return _output(step, step.program.chart.root, received(step.program, _done_event(last, own)))


def _output(step: _Step, node: Node, event: Received) -> Any:
    compute = step.program.outputs.get(node)
    if compute is None:
        return ABSENT
    args = Args(step.context, event.seen, step.before)
    return _guarded(step.program, f'the output of "{node.id}"', node.path, compute, args, None)


# Acting.


def _act(step: _Step, actions: Iterable[Action]) -> None:
    for action in actions:
        _perform(step, step.program.actions[action], action.path)


def _perform(step: _Step, action: BoundAction, path: str) -> None:
    try:
        _perform_meaning(step, action, path)
    except LogicError:
        raise
    except Exception as error:
        raise raised(step.program, f'the action "{action.name}"', path, error) from error


def _perform_meaning(step: _Step, action: BoundAction, path: str) -> None:
    args = step.args()
    params = action.params(args, None)
    match action.meaning:
        case Custom():
            _execute(step, action.name, params)
        case Assign() as assign:
            step.context = assigned(step.context, assign.changes(args, params))
            step.is_changed = True
        case RaiseEvent() as raising:
            event = step.program.logic.event_to_json(raising.event(args, params))
            _raise(step, event, raising.id, action.delay and action.delay(args, params))
        case SendTo() as sending:
            event = step.event.plain if sending.event is None else sending.event(args, params)
            delay = action.delay and action.delay(args, params)
            to = _address(step, sending.to(args, params))
            _put(step, Send(step.out.next_index, to, step.program.logic.event_to_json(event), sending.id, delay))
        case EmitEvent() as emitting:
            event = step.program.logic.event_to_json(emitting.event(args, params))
            _put(step, Emit(step.out.next_index, event))
        case LogValue() as logging:
            _put(step, Log(step.out.next_index, logging.value(args, params), logging.label))
        case CancelSend() as cancelling:
            _put(step, Cancel(step.out.next_index, cancelling.id(args, params)))
        case SpawnChild() as spawning:
            input = spawning.input(args, params)
            child = Child(spawning.src, spawning.system_id, input=input, sync=spawning.sync)
            _start(step, spawning.id(args, params), child)
        case StopChild() as stopping:
            _stop(step, stopping.id(args, params))
        case EnqueueActions() as enqueueing:
            _act_on_enqueued(step, enqueueing, params, path)
        case _:
            assert_never(action.meaning)


def _put(step: _Step, effect: Effect) -> None:
    step.out.effects.append(effect)


def _execute(step: _Step, name: str, params: Json) -> None:
    context = step.program.logic.context_to_json(step.context)
    _put(step, Execute(step.out.next_index, name, params, context, step.event.plain))


def assigned(context: Any, changes: Any) -> Any:
    """`context` with `changes`, a mapping of some of it, or a whole new context of the same class."""
    if attrs.has(context.__class__):
        return changes if isinstance(changes, type(context)) else evolve(context, **changes)
    return {**context, **changes}


def _raise(step: _Step, event: Mapping[str, Any], id: str | None, delay: timedelta | None) -> None:
    if delay is None:
        step.out.queue.append(event)
        _put(step, Raise(step.out.next_index, event, id))
    else:
        _put(step, Schedule(step.out.next_index, event, delay, id))


def _start_delay(step: _Step, after: After) -> None:
    compute = step.program.delays[after]
    delay = compute and _guarded(step.program, f'the delay "{after.delay}"', after.path, compute, step.args(), None)
    _raise(step, {"type": after.event}, after.event, delay)


def _address(step: _Step, to: Any) -> str:
    """Whom `to` names: a child, itself, its parent, or an instance anywhere by its key."""
    if not isinstance(to, str):
        raise TypeError(f"an event is sent to the id of an actor, not to {to!r}")
    if to in (INTERNAL, PARENT) or to in step.awaited or to in step.children:
        return to
    child = to.removeprefix("#_")
    if child != to and child in step.children:
        return child
    for id, other in step.children.items():
        if other.system_id == to:
            return id
    if "/" in to or step.out.elsewhere:
        return to
    raise LookupError(f'there is no actor "{to}" to send to')


def _invoke(step: _Step, invocation: Invocation) -> None:
    what = f'the input of "{invocation.id}"'
    compute = step.program.inputs[invocation]
    input = _guarded(step.program, what, invocation.path, compute, step.args(), None)
    child = Child(invocation.src, invocation.system_id, input=input, sync=invocation.sync)
    _start(step, invocation.id, child)


def _start(step: _Step, id: str, child: Child) -> None:
    step.children = {**step.children, id: child}
    step.is_changed = True
    input = None if child.input is ABSENT else child.input
    _put(step, Invoke(step.out.next_index, id, child.src, input, child.system_id))


def _stop(step: _Step, id: str) -> None:
    known = id in step.children
    step.children = {other: child for other, child in step.children.items() if other != id}
    step.is_changed = True
    _put(step, Stop(step.out.next_index, id if known else None))


def _act_on_enqueued(step: _Step, enqueueing: EnqueueActions, params: Any, path: str) -> None:
    """Collect first, run after: what is enqueued never shows to the function that enqueues it."""
    lexicon, args, enqueued = step.program.lexicon, step.args(), list[BoundAction]()

    def enqueue(action: ActionLike) -> None:
        enqueued.append(lexicon.action(action))

    def check(guard: GuardLike) -> bool:
        return lexicon.guard(guard)(args)

    enqueueing.collect(EnqueueArgs(args.context, args.event, args.state, enqueue, check), params)
    for action in enqueued:
        _perform(step, action, path)


def _guarded(program: Program, what: str, path: str, compute: Expression, args: Args[Any, Any], params: Any) -> Any:
    try:
        return compute(args, params)
    except Exception as error:
        raise raised(program, what, path, error) from error


def received(program: Program, event: Mapping[str, Any]) -> Received:
    """`event` as it is taken.

    Raises:
        LogicError: it does not fit the class that was declared for its type.
    """
    try:
        return Received(event["type"], event, program.logic.read_event(event))
    except Exception as error:
        raise raised(program, f"reading the event {event['type']}", "events", error) from error
