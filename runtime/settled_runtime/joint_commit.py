"""Turns that commit together, as a worker runs them.

Most turns compute, commit and are over, and their cost is the round trip of the commit. So several turns, each of
another key, are run to their next commit, and then one call makes all of these commits and may bring the next
deliveries with it. A turn that has actions or actors to run stops there: it may take long, and the others must not wait
for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy

from settled import SettledError
from settled.durable import Capability, Delivery
from settled.durable.commands import Done, Extend, Finish, Load, LoadDeadLetters, Release
from settled_runtime.host_context import HostContext
from settled_runtime.turn_runner import TurnRunner

_IMMEDIATE = (Load, LoadDeadLetters, Release, Extend)
"""The commands that a turn performs by itself on the way to a joint commit: each is one short call."""


def commit_together(context: HostContext, turns: Iterable[TurnRunner], receive: int = 0) -> Sequence[Delivery]:
    """Begin `turns`, each of another key, and run them until each is over or has actions or actors to run.

    Return up to `receive` next deliveries, if the queue has any. With a backend that does not declare
    `Capability.JOINT_FINISH`, return none and begin no turn.
    """
    if Capability.JOINT_FINISH not in context.backend.capabilities:
        return ()
    deliveries: list[Delivery] = []
    going: Sequence[TurnRunner] = tuple(turns)
    for turn in going:
        turn.resume()
    while going:
        for turn in going:
            while isinstance(turn.command, _IMMEDIATE):
                turn.step()
        commits = {turn: turn.command for turn in going if isinstance(turn.command, Finish)}
        if commits:
            # Once some were received, no more: the caller would hold more deliveries than it asked for, and they would
            # wait here while another worker could take them.
            deliveries += _commit(context, commits, 0 if deliveries else receive)
        # A turn that did not commit is over, or has actions or actors to run. One that did may have to commit again,
        # for its next message or after a conflict.
        going = tuple(commits)
    return deliveries


def _commit(context: HostContext, commits: Mapping[TurnRunner, Finish], receive: int) -> Sequence[Delivery]:
    try:
        finished = context.backend_commands.finish_all([*commits.values()], receive, context.machines)
    except Exception as error:
        # The error applies to all of the writes (`Backend.finish_all`), so each turn deals with it in its own way.
        for turn in commits:
            turn.resume(_copy_of(error))
        return ()
    done = Done(context.clock())
    for turn in commits:
        turn.resume(finished.errors.get(turn.key, done))
    return finished.deliveries


def _copy_of(error: Exception) -> Exception:
    """Return a copy of `error`, which is raised in several turns: they would share its traceback and context."""
    if not isinstance(error, SettledError):
        return error  # it ends each turn at once, and not every such error can be copied
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
