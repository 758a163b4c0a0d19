"""The ``after`` timers of active states, and rearming them when the machine was changed.

XState derives the id of an ``after`` timer from its delay and its node. A deploy that changes a delay, or a migration
that renames a node, would therefore leave a timer whose event no state handles, and a state whose timer never fires.

Law: the delays of active states are always running. Missing timers are started, and orphaned ones are cancelled.
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
"""The prefix of the ids of ``after`` timers: ``xstate.after.DELAY.NODE``."""


def delays_of(snapshot: Snapshot[Any]) -> Sequence[After]:
    """Return the delays of the active states, in document order."""
    return [after for node in snapshot.configuration.nodes for after in node.after]


def delay_of(machine: Machine[Any], snapshot: Snapshot[Any], after: After) -> float:
    """Return the full length of `after`, in seconds.

    Raises:
        LogicError: the delay's implementation raised.
    """
    compute = machine.program.delays[after]
    if compute is None:
        return 0.0
    try:
        delay = compute(Args(snapshot.context, {"type": "xstate.init"}, None, snapshot))
    except Exception as error:
        raise LogicError(f"{after.path}: its delay raised {type(error).__name__}: {error}") from error
    return delay_in_seconds(delay or timedelta())


def rearm_timers(context: ApplyContext, record: Record) -> tuple[Record, Sequence[str]]:
    """Give `record` the timers that its changed machine expects; also return a description of each change.

    A migration with ``timers="keep"`` lets timers keep their due times: a missing timer takes over the due time of an
    orphaned one of the same node, or else of the same delay. Any other missing timer runs for its full length from now.
    """
    expected = {after.event: after for after in delays_of(record.readable_snapshot())}
    running = {timer.id: token for token, timer in record.timers.items() if timer.id and _is_after_timer(timer)}
    missing = [after for event, after in expected.items() if event not in running]
    orphans = {id: token for id, token in running.items() if id not in expected}
    kept = _kept_due_times(context, record, missing, orphans)
    notes: list[str] = []
    for id, token in orphans.items():
        record = cancel_timer(context, record, token)
        notes.append(f"its timer {id} belongs to no active state any more, and was cancelled")
    for number, after in enumerate(missing):
        due = kept.get(after.event, context.due_in(delay_of(context.machine, record.readable_snapshot(), after)))
        # The nonce of the commit in preparation, which takes no event: so no effect of a turn can have the same key.
        token = idempotency_key(context.key, context.nonce, record.ordinal, number)
        timer = ActiveTimer(due, {"type": after.event}, after.event)
        record = evolve(record, timers={**record.timers, token: timer})
        notes.append(f"its timer {after.event} was not running, and is due in {due - context.now:.3f} s")
    if record.turn is None:  # an open turn watches its timers itself
        record = schedule_timers(context, record)
    return evolve(record, version=context.machine.version, fingerprint=context.machine.fingerprint, armed=None), notes


def _is_after_timer(timer: ActiveTimer) -> bool:
    # The id alone is not enough: a machine may give a delayed `raise` such an id, too.
    return timer.message is None and str(timer.id).startswith(AFTER) and timer.event == {"type": timer.id}


def _kept_due_times(
    context: ApplyContext, record: Record, missing: Sequence[After], orphans: dict[str, str]
) -> dict[str, float]:
    """Return the due times, by timer id, of the `missing` timers that take over the due time of an orphan."""
    if not context.machine.keeps_timers(record.armed_for[1]):
        return {}
    available = {id: record.timers[token].due for id, token in orphans.items()}
    kept: dict[str, float] = {}
    # All matches by node first: one by delay alone must not take the due time that another timer of its node keeps.
    for part_of in (_node_of, _delay_name_of):
        for after in missing:
            matches = (id for id in available if after.event not in kept and part_of(id) == part_of(after.event))
            found = next(matches, None)
            if found is not None:
                kept[after.event] = available.pop(found)
    return kept


def _delay_name_of(id: str) -> str:
    return id.removeprefix(AFTER).partition(".")[0]


def _node_of(id: str) -> str:
    return id.removeprefix(AFTER).partition(".")[2]
