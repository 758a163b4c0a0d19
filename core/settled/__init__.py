"""settled: XState v5 statecharts, run durably.

This package is the pure core: it computes what a machine does next and does nothing itself.
"""

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
from settled.chart import Chart, Configuration, Node, StateValue, Transition
from settled.compile import compile_chart
from settled.data import ABSENT, Json
from settled.errors import (
    Conflict,
    DefinitionError,
    Denied,
    EventError,
    Fault,
    LogicError,
    RecordError,
    SettledError,
    TooLarge,
    Unavailable,
    Unknown,
    Unsupported,
)
from settled.expression import Args
from settled.guards import and_, not_, or_, state_in
from settled.logic import ActionArgs, Actor, Call, Retry, actor
from settled.machine import Machine, setup
from settled.message import Key
from settled.snapshot import Child, Snapshot

__all__ = [
    "ABSENT",
    "ActionArgs",
    "Actor",
    "Args",
    "Call",
    "Chart",
    "Child",
    "Configuration",
    "Conflict",
    "DefinitionError",
    "Denied",
    "EnqueueArgs",
    "EventError",
    "Fault",
    "Json",
    "Key",
    "LogicError",
    "Machine",
    "Node",
    "RecordError",
    "Retry",
    "SettledError",
    "Snapshot",
    "StateValue",
    "TooLarge",
    "Transition",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "actor",
    "and_",
    "assign",
    "cancel",
    "compile_chart",
    "emit",
    "enqueue_actions",
    "forward_to",
    "log",
    "not_",
    "or_",
    "raise_",
    "send_parent",
    "send_to",
    "setup",
    "spawn_child",
    "state_in",
    "stop_child",
]
