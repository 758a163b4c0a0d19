"""The events that a machine may send itself, as far as its actions say before they run."""

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
from settled.chart.args import Expression, known_value
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
    """The machine may send itself an event in `action`, a place of `node`.

    `type` is None if only running it tells which, if any.
    """

    node: Node
    action: ActionSite
    type: str | None


def self_events(chart: Chart, program: Program | None) -> tuple[SelfEvent, ...]:
    """What the actions of `chart` may tell the machine itself. Without a program, a mere name may mean anything."""
    return tuple(
        SelfEvent(node, action, type)
        for node in chart.nodes
        for action in node.actions
        for type in _types(implementation_of(action, program), program)
    )


def done_events(chart: Chart) -> frozenset[str]:
    """The types of the events by which nodes inside the machine say that they have come to their end."""
    return frozenset(f"xstate.done.state.{node.id}" for node in chart.nodes if node.parent and can_be_done(node))


def implementation_of(action: ActionSite, program: Program | None) -> CustomAction | BuiltInAction | None:
    """What `action` does; None if only logic that is not at hand can say."""
    if program is not None:
        return program.actions[action].implementation
    known = builtin_action(action.reference)
    return CustomAction(lambda args, params: None) if known is None and isinstance(action.reference, Inline) else known


def _types(does: CustomAction | BuiltInAction | None, program: Program | None) -> tuple[str | None, ...]:
    match does:
        case None | EnqueueActions():
            return (None,)
        case RaiseEvent():
            return (_type(does.event),)
        case SendTo():
            return (_type(does.event),) if known_value(does.to) in (INTERNAL, ABSENT) else ()
        case SpawnChild():
            return () if program is not None and is_machine(program.implementations.actors[does.src]) else (None,)
        case CustomAction() | Assign() | EmitEvent() | LogValue() | CancelSend() | StopChild():
            return ()
        case _:
            assert_never(does)


def _type(event: Expression | None) -> str | None:
    match known_value(event):
        case {"type": str(type)}:
            return type
        case _:
            return None
