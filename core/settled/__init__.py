"""settled: XState v5 statecharts, run durably.

This package is the pure core: it computes what a machine does next and does nothing itself. Its names are imported
from their modules when they are first asked for: a program that only loads a machine need not wait for the turn, nor
one that only sends events for the compiler.
"""

import sys  # noqa: TID251 (only this package is looked up in it)
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settled.actions import (
        EnqueueArgs,
        assign,
        cancel,
        emit,
        enqueue_actions,
        forward_to,
        log,
        raise_,
        send_parent,
        send_to,
        spawn_child,
        stop_child,
    )
    from settled.adopt import adopt, gather
    from settled.chart import Chart, Configuration, Node, StateValue, Transition
    from settled.check import check
    from settled.codec import read
    from settled.compile import compile_chart
    from settled.data import ABSENT, Json
    from settled.dot import dot
    from settled.errors import (
        Conflict,
        DefinitionError,
        Denied,
        EventError,
        Fault,
        IdReused,
        LeaseLost,
        LogicError,
        RecordError,
        SettledError,
        TooLarge,
        Unavailable,
        Unknown,
        Unsupported,
        VersionUnknown,
    )
    from settled.expression import Args
    from settled.family import Family, dump_family, load_family
    from settled.finding import Finding
    from settled.guards import and_, not_, or_, state_in
    from settled.literal import MachineDict, StateDict, TransitionDict
    from settled.logic import ActionArgs, Actor, Call, Retry, actor
    from settled.machine import Machine, setup
    from settled.mermaid import mermaid
    from settled.message import Event, Key, Message, Start, Timer, encode
    from settled.migration import Migration
    from settled.ports import (
        Backend,
        Capability,
        DeadLetter,
        Delivery,
        Finished,
        Index,
        Position,
        Queue,
        Store,
        Stored,
        Timers,
        Traits,
        Write,
    )
    from settled.record import Record
    from settled.redrive import redrive
    from settled.settle import done_event, error_event, fold, is_settled, settle
    from settled.snapshot import Child, Snapshot
    from settled.turn import turn
    from settled.window import Outcome
    from settled.work import End, Policy

__all__ = [
    "ABSENT",
    "ActionArgs",
    "Actor",
    "Args",
    "Backend",
    "Call",
    "Capability",
    "Chart",
    "Child",
    "Configuration",
    "Conflict",
    "DeadLetter",
    "DefinitionError",
    "Delivery",
    "Denied",
    "End",
    "EnqueueArgs",
    "Event",
    "EventError",
    "Family",
    "Fault",
    "Finding",
    "Finished",
    "IdReused",
    "Index",
    "Json",
    "Key",
    "LeaseLost",
    "LogicError",
    "Machine",
    "MachineDict",
    "Message",
    "Migration",
    "Node",
    "Outcome",
    "Policy",
    "Position",
    "Queue",
    "Record",
    "RecordError",
    "Retry",
    "SettledError",
    "Snapshot",
    "Start",
    "StateDict",
    "StateValue",
    "Store",
    "Stored",
    "Timer",
    "Timers",
    "TooLarge",
    "Traits",
    "Transition",
    "TransitionDict",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "VersionUnknown",
    "Write",
    "actor",
    "adopt",
    "and_",
    "assign",
    "cancel",
    "check",
    "compile_chart",
    "done_event",
    "dot",
    "dump_family",
    "emit",
    "encode",
    "enqueue_actions",
    "error_event",
    "fold",
    "forward_to",
    "gather",
    "is_settled",
    "load_family",
    "log",
    "mermaid",
    "not_",
    "or_",
    "raise_",
    "read",
    "redrive",
    "send_parent",
    "send_to",
    "settle",
    "setup",
    "spawn_child",
    "state_in",
    "stop_child",
    "turn",
]

_HOMES = {
    name: home
    for home, *names in map(
        str.split,
        """\
actions EnqueueArgs assign cancel emit enqueue_actions forward_to log raise_ send_parent send_to spawn_child
actions stop_child
adopt adopt gather
chart Chart Configuration Node StateValue Transition
check check
codec read
compile compile_chart
data ABSENT Json
dot dot
errors Conflict DefinitionError Denied EventError Fault IdReused LeaseLost LogicError RecordError SettledError
errors TooLarge Unavailable Unknown Unsupported VersionUnknown
expression Args
family Family dump_family load_family
finding Finding
guards and_ not_ or_ state_in
literal MachineDict StateDict TransitionDict
logic ActionArgs Actor Call Retry actor
machine Machine setup
mermaid mermaid
message Event Key Message Start Timer encode
migration Migration
ports Backend Capability DeadLetter Delivery Finished Index Position Queue Store Stored Timers Traits Write
record Record
redrive redrive
settle done_event error_event fold is_settled settle
snapshot Child Snapshot
turn turn
window Outcome
work End Policy
""".splitlines(),
    )
    for name in names
}
"""In which module each name is at home: the imports above, for the running program."""


class _Package(ModuleType):
    """This package. A module that has the name of its function, as `settled.turn` has, must not take its place."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{_HOMES[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _HOMES):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
