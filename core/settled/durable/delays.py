"""Delays: the timers that active states must have, and what becomes of them when a machine was changed.

XState names a timer after its delay and its node. So a deploy that changes a delay, or a migration that renames a node,
leaves a timer that nobody listens to, and a state that waits for one that does not run. Here the delay of an active
state is always running: what is missing is armed again, and what belongs to no active state is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from settled._fast_frozen import evolve
from settled.chart.args import Args
from settled.chart.nodes import After
from settled.chart.snapshot import Snapshot
from settled.durable.apply_context import ApplyContext
from settled.durable.outbox import cancel_timer, schedule_timers
from settled.durable.record import ActiveTimer, Record, delay_in_seconds, idempotency_key
from settled.errors import LogicError
from settled.machine import Machine

AFTER = "xstate.after."
"""The prefix of the ids of all timers of ``after``."""


def delays_of(snapshot: Snapshot[Any]) -> Sequence[After]:
    """The delays of the active states, in document order."""
    return [after for node in snapshot.configuration.nodes for after in node.after]


def delay_of(machine: Machine[Any, Any], snapshot: Snapshot[Any], after: After) -> float:
    """Return how long `after` takes in full, in seconds.

    Raises:
        LogicError: the machine's own code failed.
    """
    compute = machine.program.delays[after]
    if compute is None:
        return 0.0
    try:
        delay = compute(Args(snapshot.context, {"type": "xstate.init"}, snapshot), None)
    except Exception as error:
        raise LogicError(f"{after.path}: its delay raised {type(error).__name__}: {error}") from error
    return delay_in_seconds(delay or timedelta())


def rearm_timers(context: ApplyContext, record: Record) -> tuple[Record, Sequence[str]]:
    """`record` with the timers that its machine, which was changed, expects; and what was done, in words.

    A migration may say that a running timer keeps its time (`migration`, with ``timers="keep"``): the new timer of the
    same node, or else of the same delay, is due then. Every other one takes its full time from now.
    """
    expected = {after.event: after for after in delays_of(record.readable_snapshot())}
    running = {timer.id: token for token, timer in record.timers.items() if timer.id and _is_of_a_state(timer)}
    missing = [after for event, after in expected.items() if event not in running]
    orphans = {id: token for id, token in running.items() if id not in expected}
    kept = _kept_due_times(context, record, missing, orphans)
    notes: list[str] = []
    for id, token in orphans.items():
        record = cancel_timer(context, record, token)
        notes.append(f"its timer {id} belongs to no active state any more, and was cancelled")
    for number, after in enumerate(missing):
        due = kept.get(after.event, context.due_in(delay_of(context.machine, record.readable_snapshot(), after)))
        token = idempotency_key(context.key, context.nonce, record.ordinal, number)
        timer = ActiveTimer(due, {"type": after.event}, after.event)
        record = evolve(record, timers={**record.timers, token: timer})
        notes.append(f"its timer {after.event} was not running, and is due in {due - context.now:.3f} s")
    if record.turn is None:
        record = schedule_timers(context, record)
    return evolve(record, version=context.machine.version, fingerprint=context.machine.fingerprint, armed=None), notes


def _is_of_a_state(timer: ActiveTimer) -> bool:
    """Whether `timer` was made by an ``after``: a delayed raise may have been given such an id, too."""
    return timer.message is None and str(timer.id).startswith(AFTER) and timer.event == {"type": timer.id}


def _kept_due_times(
    context: ApplyContext, record: Record, missing: Sequence[After], orphans: dict[str, str]
) -> dict[str, float]:
    """When the timers are due that take over the time of one that is not listened to any more."""
    if not context.machine.keeps_timers(record.armed_for[1]):
        return {}
    left = {id: record.timers[token].due for id, token in orphans.items()}
    kept: dict[str, float] = {}
    for is_alike in (_is_of_the_same_node, _is_of_the_same_delay):
        for after in missing:
            found = next((id for id in left if after.event not in kept and is_alike(id, after.event)), None)
            if found is not None:
                kept[after.event] = left.pop(found)
    return kept


def _is_of_the_same_node(one: str, other: str) -> bool:
    return _parts(one)[1] == _parts(other)[1]


def _is_of_the_same_delay(one: str, other: str) -> bool:
    return _parts(one)[0] == _parts(other)[0]


def _parts(id: str) -> tuple[str, str]:
    """The delay and the node that a timer is named after."""
    delay, _, node = id.removeprefix(AFTER).partition(".")
    return delay, node
