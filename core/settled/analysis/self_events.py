"""The events that a machine may send itself, as far as that can be seen without running its actions."""

from __future__ import annotations

from typing import assert_never

from attrs import frozen

from settled.chart.actions import (
    INTERNAL,
    Assign,
    BuiltInAction,
    CancelSend,
    EmitEvent,
    EnqueueActions,
    LogValue,
    RaiseEvent,
    SendTo,
    SpawnChild,
    StopChild,
)
from settled.chart.args import Expression, literal_value
from settled.chart.builtins import builtin_action
from settled.chart.chart import Chart
from settled.chart.config import Inline
from settled.chart.implementations import is_machine
from settled.chart.nodes import ActionSite, Node
from settled.chart.program import Program
from settled.chart.reachability import can_be_done
from settled.chart.resolve import CustomAction
from settled.data import ABSENT


@frozen
class SelfEvent:
    """An event that the machine may send itself in `action`, which belongs to `node`.

    `type` is None if it cannot be known which event that is, or whether there is any.
    """

    node: Node
    action: ActionSite
    type: str | None


def self_events(chart: Chart, program: Program | None) -> tuple[SelfEvent, ...]:
    """Return the events that the actions of `chart` may send to the machine itself.

    Without a program, an action known only by its name may send any event.
    """
    return tuple(
        SelfEvent(node, action, type)
        for node in chart.nodes
        for action in node.actions
        for type in _types(implementation_of(action, program), program)
    )


def done_events(chart: Chart) -> frozenset[str]:
    """Return the types of the done events that the nodes of `chart`, other than the root, may raise."""
    return frozenset(f"xstate.done.state.{node.id}" for node in chart.nodes if node.parent and can_be_done(node))


def implementation_of(action: ActionSite, program: Program | None) -> CustomAction | BuiltInAction | None:
    """Return the implementation of `action`; None if it is a custom name and there is no program to resolve it."""
    if program is not None:
        return program.actions[action].implementation
    known = builtin_action(action.reference)
    return CustomAction(lambda args: None) if known is None and isinstance(action.reference, Inline) else known


def _types(action: CustomAction | BuiltInAction | None, program: Program | None) -> tuple[str | None, ...]:
    match action:
        case None | EnqueueActions():
            return (None,)
        case RaiseEvent():
            return (_type(action.event),)
        case SendTo():
            return (_type(action.event),) if literal_value(action.to) in (INTERNAL, ABSENT) else ()
        case SpawnChild():
            # A function reports its result as an event; a child machine is an instance of its own.
            return () if program is not None and is_machine(program.implementations.actors[action.src]) else (None,)
        case CustomAction() | Assign() | EmitEvent() | LogValue() | CancelSend() | StopChild():
            return ()
        case _:
            assert_never(action)


def _type(event: Expression | None) -> str | None:
    match literal_value(event):
        case {"type": str(type)}:
            return type
        case _:
            return None
