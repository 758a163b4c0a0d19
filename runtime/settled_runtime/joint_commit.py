"""Turns that commit together, as a worker runs them.

Most turns compute, commit and are over, and their cost is the round trip of the commit. So several turns, each of
another key, are run to their next commit, and then one call makes all of these commits and may bring the next
deliveries with it. A turn that has actions or actors to run stops there: it may take long, and the others must not wait
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy

from settled import SettledError
from settled.durable import Capability, Delivery
from settled.durable.commands import (
    Done,
    Extend,
    Finish,
    Isolate,
    Load,
    LoadDeadLetters,
    PerformActions,
    Release,
    RunActors,
)
from settled.durable.record import PerformAction
from settled_runtime.host_context import HostContext
from settled_runtime.leases import Batch
from settled_runtime.turn_runner import TurnRunner

_IMMEDIATE = (Load, LoadDeadLetters, Release, Extend)
"""The commands that a turn performs by itself on the way to a joint commit: each is one short call."""


def commit_together(
    context: HostContext,
    turns: Iterable[TurnRunner],
    receive: Callable[[], int] = lambda: 0,
    take_thread: Callable[[], bool] = lambda: True,
) -> Sequence[Delivery]:
    """Begin `turns`, each of another key, and run them until each is over or has actions or actors to run.

    With a backend that does not declare `Capability.JOINT_FINISH`, return none and begin no turn.

    Args:
        context: the host's machines and backend.
        turns: the turns, not begun yet. Meanwhile the leases of the one that is computed are renewed, and no others:
            they must not wait for ever for one that hangs.
        receive: called before each commit, for how many next deliveries to receive with it.
        take_thread: called once for each turn before it commits what brings actions or actors. If it returns False, the
            turn is put back instead.

    Returns:
        The next deliveries.
    """
    if Capability.JOINT_FINISH not in context.backend.capabilities:
        return ()
    batch = context.leases.begin_batch()
    try:
        return _run_together(context, tuple(turns), batch, receive, take_thread)
    finally:
        context.leases.end_batch(batch)


def _run_together(
    context: HostContext,
    going: Sequence[TurnRunner],
    batch: Batch,
    receive: Callable[[], int],
    take_thread: Callable[[], bool],
) -> Sequence[Delivery]:
    deliveries: Sequence[Delivery] = ()
    with_thread = set[TurnRunner]()
    for turn in going:
        batch.current = turn.held
        turn.resume()
    while going:
        commits: dict[TurnRunner, Finish] = {}
        for turn in going:
            batch.current = turn.held
            while isinstance(turn.command, _IMMEDIATE):
                turn.step()
            if _needs_thread(turn) and turn not in with_thread:
                if not take_thread():
                    turn.put_back()
                    continue
                with_thread.add(turn)
            if isinstance(turn.command, Finish):
                commits[turn] = turn.command
        batch.current = None
        if commits:
            # Once some were received, no more: the caller would hold more deliveries than it asked for, and they would
            # wait here while another worker could take them.
            found = _commit(context, batch, commits, 0 if deliveries else receive())
            deliveries = deliveries or found
        # A turn that did not commit is over, or has actions or actors to run. One that did may have to commit again,
        # for its next message or after a conflict.
        going = tuple(commits)
    return deliveries


def _needs_thread(turn: TurnRunner) -> bool:
    """Return whether `turn` has actions or actors to run, or will have once its commit is made."""
    command = turn.command
    if not isinstance(command, Finish):
        return isinstance(command, PerformActions | RunActors | Isolate)
    # Before the commit: afterwards its actors count as started, and would count as interrupted if it were put back.
    record = command.record
    if record is None or record.halted is not None:
        return False
    if record.watch is not None:  # put back later, it would be taken for one that has ended its worker
        return True
    if record.turn is not None and any(actor.started_by is not None for actor in record.turn.actors):
        return True
    return bool(record.outbox) and any(isinstance(entry.item, PerformAction) for entry in record.outbox)


def _commit(
    context: HostContext, batch: Batch, commits: Mapping[TurnRunner, Finish], receive: int
) -> Sequence[Delivery]:
    try:
        finished = context.backend_commands.finish_all([*commits.values()], receive, context.machines)
    except Exception as error:
        # The error applies to all of the writes (`Backend.finish_all`), so each turn deals with it in its own way.
        for turn in commits:
            batch.current = turn.held
            turn.resume(_copy_of(error))
        return ()
    done = Done(context.clock())
    for turn in commits:
        batch.current = turn.held
        turn.resume(finished.errors.get(turn.key, done))
    return finished.deliveries


def _copy_of(error: Exception) -> Exception:
    """Return a copy of `error`, which is raised in several turns: they would share its traceback and context."""
    if not isinstance(error, SettledError):
        return error  # it ends each turn at once, and not every such error can be copied
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
