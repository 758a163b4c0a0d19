"""The turns of a host, as a worker drives them: each by itself, or several to a commit that they share.

Most turns compute, commit and are over, and what they cost is the round trip of their commit. So several turns are
taken as far as their next commit each, and then one call makes all these commits, and may bring the next messages with
it. A turn that has an effect to perform leaves the others at that point, because it may take long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from settled import Key
from settled.durable import Backend, Capability, Delivery
from settled.durable.commands import Extend, Finish, Load, LoadDeadLetters, Release
from settled_runtime.events import HostEvent
from settled_runtime.host_context import HostContext
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner

_IMMEDIATE = (Load, LoadDeadLetters, Release, Extend)
"""The commands that a turn performs by itself on the way to a shared commit: each is a short call."""


@frozen
class HostTurns:
    """Starts turns of the machines in `context`, and lets several of them commit together."""

    context: HostContext

    @property
    def backend(self) -> Backend:
        return self.context.backend_commands.backend

    def observe(self, event: HostEvent) -> None:
        """Tell the host's observers of `event`."""
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
        """Take `turns`, each of another key, to where each is over or has an effect to perform.

        Return up to `receive` next deliveries, if the queue has any. A backend that does not declare
        `Capability.JOINT_FINISH` brings none, and leaves the turns where they are.
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
                deliveries += self._commit(commits, 0 if deliveries else receive)
            going = tuple(commits)
        return deliveries

    def _commit(self, commits: Mapping[TurnRunner, Finish], receive: int) -> Sequence[Delivery]:
        try:
            done = self.context.backend_commands.finish_all([*commits.values()], receive)
        except Exception as error:
            for turn, commit in commits.items():
                turn.resume_after_commit(commit, error)
            return ()
        for turn, commit in commits.items():
            turn.resume_after_commit(commit, done.refused.get(turn.key))
        return done.deliveries

    def release(self, held: HeldDeliveries) -> None:
        """Return the deliveries `held` to the queue without a turn."""
        self.context.release(held)
