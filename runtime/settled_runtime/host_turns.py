"""The turns of a host, as a worker runs them: each by itself, or several with one joint commit.

Most turns compute, commit and are over, and their cost is the round trip of the commit. So several turns, each of
another key, are run to their next commit, and then one call makes all of these commits and may bring the next
deliveries with it. A turn that has actions or actors to run stops there: it may take long, and the others must not wait
for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from settled import Key
from settled.durable import Backend, Capability, Delivery
from settled.durable.commands import Extend, Finish, Load, LoadDeadLetters, Release, ReleaseReason
from settled_runtime.events import HostEvent
from settled_runtime.host_context import HostContext
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner

_IMMEDIATE = (Load, LoadDeadLetters, Release, Extend)
"""The commands that a turn performs by itself on the way to a joint commit: each is one short call."""


@frozen
class HostTurns:
    """Starts turns of the machines in `context`, and lets several of them commit together."""

    context: HostContext

    @property
    def backend(self) -> Backend:
        return self.context.backend_commands.backend

    @property
    def machines(self) -> Collection[str]:
        """The ids of the machines whose messages the host takes."""
        return self.context.machines.keys()

    def observe(self, event: HostEvent) -> None:
        """Call the host's observers with `event`."""
        self.context.observe(event)

    def hold(self, deliveries: Sequence[Delivery]) -> HeldDeliveries:
        """Renew the leases of `deliveries`, all of one key, until their turn is over or they are released."""
        return self.context.leases.hold(deliveries)

    def start(
        self, key: Key, held: HeldDeliveries, stop_signal: StopSignal, deadline: float | None = None
    ) -> TurnRunner:
        """Return a turn for the deliveries `held` of `key`, at its first command."""
        return TurnRunner(self.context, key, held, stop_signal, deadline)

    def commit_together(self, turns: Iterable[TurnRunner], receive: int = 0) -> Sequence[Delivery]:
        """Run `turns`, each of another key, until each is over or has actions or actors to run.

        Return up to `receive` next deliveries, if the queue has any. With a backend that does not declare
        `Capability.JOINT_FINISH`, return none and leave the turns at their first command.
        """
        if Capability.JOINT_FINISH not in self.backend.capabilities:
            return ()
        deliveries: list[Delivery] = []
        going: Sequence[TurnRunner] = tuple(turns)
        while going:
            for turn in going:
                while isinstance(turn.command, _IMMEDIATE):
                    turn.step()
            commits = {turn: turn.command for turn in going if isinstance(turn.command, Finish)}
            if commits:
                # Once some were received, no more: the caller would hold more deliveries than it asked for, and they
                # would wait here while another worker could take them.
                deliveries += self._commit(commits, 0 if deliveries else receive)
            # A turn that did not commit is over, or has actions or actors to run. One that did may have to commit
            # again, for its next message or after a conflict.
            going = tuple(commits)
        return deliveries

    def _commit(self, commits: Mapping[TurnRunner, Finish], receive: int) -> Sequence[Delivery]:
        try:
            done = self.context.backend_commands.finish_all([*commits.values()], receive, self.machines)
        except Exception as error:
            # The error applies to all of the writes (`Backend.finish_all`), so each turn deals with it in its own way.
            for turn, commit in commits.items():
                turn.resume_after_commit(commit, error)
            return ()
        for turn, commit in commits.items():
            turn.resume_after_commit(commit, done.errors.get(turn.key))
        return done.deliveries

    def release(self, held: HeldDeliveries) -> None:
        """Return the deliveries `held` to the queue without a turn, because the host is stopping."""
        self.context.release(held, ReleaseReason.STOPPING)
