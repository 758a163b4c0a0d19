"""The operations that a microstep consists of, each bound once to its site in the config.

`microstep` decides which operations there are and in which order. The effect of each depends on the context and the
event at that moment, so operations run anew each time and keep no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, assert_never

from attrs import field, frozen

from settled.chart.actions import (
    INTERNAL,
    PARENT,
    ActionLike,
    Assign,
    CancelSend,
    EmitEvent,
    EnqueueActions,
    EnqueueArgs,
    FieldChanges,
    LogValue,
    RaiseEvent,
    SendTo,
    SpawnChild,
    StopChild,
)
from settled.chart.args import Args, Expression, literal_value
from settled.chart.chart import Configuration, describe_configuration
from settled.chart.guards import GuardLike
from settled.chart.nodes import ActionSite, After, InvokeSite, Node
from settled.chart.program import Program
from settled.chart.resolve import BoundAction, CustomAction
from settled.chart.snapshot import Child
from settled.data import ABSENT, freeze
from settled.errors import LogicError
from settled.frozen_data import FrozenDict
from settled.step.effects import Cancel, Emit, Log, NewExecute, Send, TargetKind
from settled.step.selection import logic_error
from settled.step.state import StepState, read_event

Perform: TypeAlias = Callable[[StepState], None]


@frozen(eq=False)
class Operation:
    """One change to a step's state. `what` and `path` describe it in the error message if it raises."""

    perform: Perform
    what: str
    path: str


def perform(operations: Iterable[Operation], step: StepState) -> None:
    """Perform `operations` on `step`, each on the result of the one before it.

    Raises:
        LogicError: one of them raised.
    """
    for operation in operations:
        try:
            operation.perform(step)
        except LogicError:  # raised inside, with its own path already in the message
            raise
        except Exception as error:
            raise logic_error(step.program, operation.what, operation.path, error) from error


@frozen(eq=False)
class Operations:
    """The operations of `program`: one object for each site, shared by all plans that contain it."""

    program: Program
    _bound: dict[object, Operation] = field(factory=dict[object, Operation], init=False)

    def _once(self, key: object, bind: Callable[[], Operation]) -> Operation:
        # The keys are sites, which are compared by identity; where one site has two operations, a marker is added.
        known = self._bound.get(key)
        if known is None:
            known = self._bound[key] = bind()
        return known

    def fail_as_illegal(self, configuration: Configuration) -> Operation:
        """Raise LogicError, because the microstep would end in the illegal `configuration`."""

        def perform(step: StepState) -> None:
            type, id = step.event["type"], self.program.chart.id
            raise LogicError(
                f'{id}: "{type}" would lead to {describe_configuration(configuration)}, which is no legal configuration'
            )

        return Operation(perform, "entering states", "")

    def run_action(self, action: ActionSite, starting: tuple[str, ...] = ()) -> Operation:
        """Run `action`, which may already send to the actors whose ids are `starting`."""

        def bind() -> Operation:
            return _action_operation(self.program, self.program.actions[action], action.path, starting)

        # `starting` is not part of the key: it follows from the node whose action this is.
        return self._once(action, bind)

    def start_delay(self, after: After) -> Operation:
        """Schedule a delayed event of a node that is entered."""

        def bind() -> Operation:
            compute = self.program.delays[after]

            def perform(step: StepState) -> None:
                # A delay function that returns None means no delay: then the event is raised at once.
                delay = compute and compute(step.args())
                step.raise_({"type": after.event}, after.event, delay)

            return Operation(perform, f'the delay "{after.delay}"', after.path)

        return self._once(after, bind)

    def cancel_delay(self, after: After) -> Operation:
        """Cancel a delayed event of a node that is exited."""

        def bind() -> Operation:
            def perform(step: StepState) -> None:
                step.effects.append(Cancel(step.next_index, after.event))

            return Operation(perform, f'cancelling "{after.event}"', after.path)

        return self._once((Cancel, after), bind)

    def start_actor(self, invocation: InvokeSite) -> Operation:
        """Start an actor of a node that is entered."""

        def bind() -> Operation:
            compute = self.program.inputs[invocation]

            def perform(step: StepState) -> None:
                input = compute(step.args())
                step.start(
                    invocation.id, Child(invocation.src, invocation.system_id, input=input, sync=invocation.sync)
                )

            return Operation(perform, f'the input of "{invocation.id}"', invocation.path)

        return self._once(invocation, bind)

    def stop_actor(self, invocation: InvokeSite) -> Operation:
        """Stop an actor of a node that is exited."""

        def bind() -> Operation:
            def perform(step: StepState) -> None:
                step.stop(invocation.id)

            return Operation(perform, f'stopping "{invocation.id}"', invocation.path)

        return self._once((StopChild, invocation), bind)

    def raise_done(self, node: Node, last: Node | None) -> Operation:
        """Raise the event that `node` is done, with the output of its final child `last`, if it is not parallel."""

        def bind() -> Operation:
            def perform(step: StepState) -> None:
                output = ABSENT if last is None else _output(step, last, step.typed_event)
                step.enqueue(_done_event(node, output))

            return Operation(perform, f'the end of "{node.id}"', node.path)

        return self._once((node, last), bind)

    def finish(self, last: Node) -> Operation:
        """Compute the output of the machine, which is done; `last` is the child of the root, or the root, that ends it.

        As in XState, the root's output sees the done event of `last`, not the event being taken.
        """

        def bind() -> Operation:
            def perform(step: StepState) -> None:
                own = ABSENT if last.parent is None else _output(step, last, step.typed_event)
                event = _done_event(last, own)
                step.output = _output(step, self.program.chart.root, read_event(self.program, event))
                step.is_changed = True

            return Operation(perform, "the end of the machine", last.path)

        return self._once((None, last), bind)


def _done_event(node: Node, output: Any) -> Mapping[str, Any]:
    event: Mapping[str, Any] = {"type": f"xstate.done.state.{node.id}"}
    event = freeze(event if output is ABSENT else {**event, "output": output})
    return event


def _output(step: StepState, node: Node, event: Any) -> Any:
    compute = step.program.outputs.get(node)
    if compute is None:
        return ABSENT
    try:
        return freeze(compute(Args(step.context, event, None, step.snapshot)))
    except Exception as error:
        raise logic_error(step.program, f'the output of "{node.id}"', node.path, error) from error


# Actions


def _action_operation(program: Program, action: BoundAction, path: str, starting: tuple[str, ...]) -> Operation:
    return Operation(_bind_action(program, action, path, starting), f'the action "{action.name}"', path)


def _bind_action(program: Program, action: BoundAction, path: str, starting: tuple[str, ...]) -> Perform:
    args_of = _args_of(action.params)
    match action.implementation:
        case CustomAction():
            return _execute(program, action.name, action.params)
        case Assign(changes):
            return _assign(changes, args_of)
        case RaiseEvent() as raising:
            return _raise(raising, args_of, action.delay)
        case SendTo() as sending:
            return _send(sending, args_of, action.delay, starting)
        case EmitEvent() as emitting:
            return _emit(emitting, args_of)
        case LogValue() as logging:
            return _log(logging, args_of)
        case CancelSend(id):
            return lambda step: step.effects.append(Cancel(step.next_index, id(args_of(step))))
        case SpawnChild() as spawning:
            return _spawn(spawning, args_of)
        case StopChild(id):
            return lambda step: step.stop(id(args_of(step)))
        case EnqueueActions(collect):
            return _enqueue(program, collect, args_of, path, starting)
        case _:
            assert_never(action.implementation)


ArgsOf: TypeAlias = Callable[[StepState], Args[Any]]
"""Returns the argument of an action's expressions: its params are those of the action."""


def _args_of(params: Expression) -> ArgsOf:
    known = literal_value(params)
    if known is None:
        return StepState.args
    if known is ABSENT:
        return lambda step: step.args_with(freeze(params(step.args())))
    return lambda step: step.args_with(known)


def _assign(changes: Expression, args_of: ArgsOf) -> Perform:
    if isinstance(changes, FieldChanges) and len(changes.values) == 1:  # most assign one field
        ((key, compute),) = changes.values.items()
        return lambda step: step.assign_value(key, compute(args_of(step)))
    return lambda step: step.assign(changes(args_of(step)))


def _execute(program: Program, name: str, params: Expression) -> Perform:
    to_json, known = program.implementations.context_to_json, literal_value(params)

    def perform(step: StepState) -> None:
        given = freeze(params(step.args())) if known is ABSENT else known
        effects, context = step.effects, step.context
        # The context becomes JSON here and not later, because the actions that follow may replace it. The index is
        # `next_index`, inlined for speed.
        if context.__class__ is not FrozenDict:
            context = to_json(context)
        effects.append(NewExecute(step.first_index + len(effects), name, given, context, step.event))

    return perform


def _raise(raising: RaiseEvent, args_of: ArgsOf, delay: Expression | None) -> Perform:
    def perform(step: StepState) -> None:
        args = args_of(step)
        event = step.program.implementations.event_to_json(raising.event(args))
        step.raise_(event, raising.id, delay and delay(args))

    return perform


def _send(sending: SendTo, args_of: ArgsOf, delay: Expression | None, starting: tuple[str, ...]) -> Perform:
    def perform(step: StepState) -> None:
        args = args_of(step)
        event = step.event if sending.event is None else sending.event(args)
        computed_delay = delay and delay(args)
        to, kind = _resolve_target(step, sending.to(args), starting)
        plain = step.program.implementations.event_to_json(event)
        step.effects.append(Send(step.next_index, to, plain, sending.id, computed_delay, kind))

    return perform


def _resolve_target(step: StepState, to: Any, starting: tuple[str, ...]) -> tuple[str, TargetKind]:
    """Return the id or address that `to` stands for, and its kind.

    Raises:
        LookupError: `to` is none of this machine's actors, and the step allows no others.
    """
    if not isinstance(to, str):
        raise TypeError(f"an event is sent to the id of an actor, not to {to!r}")
    if to in (INTERNAL, PARENT):
        return to, "external"
    # Before `children`: an actor that already runs under this id is about to be replaced.
    if to in starting:
        return to, "starting"
    # XState knows ids and ``#_id``. System ids are an addition, so they come last and cannot hide a child's id.
    if to in step.children:
        return to, "child"
    child = to.removeprefix("#_")
    if child != to and child in step.children:
        return child, "child"
    for id, other in step.children.items():
        if other.system_id == to:
            return id, "child"
    if "/" in to or step.allow_unknown_targets:
        return to, "external"
    raise LookupError(f'there is no actor "{to}" to send to')


def _emit(emitting: EmitEvent, args_of: ArgsOf) -> Perform:
    def perform(step: StepState) -> None:
        event = step.program.implementations.event_to_json(emitting.event(args_of(step)))
        step.effects.append(Emit(step.next_index, event))

    return perform


def _log(logging: LogValue, args_of: ArgsOf) -> Perform:
    def perform(step: StepState) -> None:
        step.effects.append(Log(step.next_index, logging.value(args_of(step)), logging.label))

    return perform


def _spawn(spawning: SpawnChild, args_of: ArgsOf) -> Perform:
    def perform(step: StepState) -> None:
        args = args_of(step)
        input = spawning.input(args)
        child = Child(spawning.src, spawning.system_id, input=input, sync=spawning.sync)
        step.start(spawning.id(args), child)

    return perform


def _enqueue(
    program: Program,
    collect: Callable[[EnqueueArgs[Any]], object],
    args_of: ArgsOf,
    path: str,
    starting: tuple[str, ...],
) -> Perform:
    # Collect first, perform afterwards, as XState does: `collect` must see the context from before all it enqueues.
    def run(step: StepState) -> None:
        resolver, args, enqueued = program.resolver, args_of(step), list[Operation]()

        without_params = step.args()  # a guard has params of its own

        def enqueue(action: ActionLike) -> None:
            enqueued.append(_action_operation(program, resolver.action(action), path, starting))

        def check(guard: GuardLike) -> bool:
            return bool(resolver.guard(guard)(without_params))

        collect(EnqueueArgs(args.context, args.event, args.params, args.state, enqueue, check))
        perform(enqueued, step)

    return run
