"""The host: turns, driven in the thread that calls it, one by one or side by side.

Most turns compute, commit and are over, and what they cost is the round trip of their commit. So turns that go side by
side come as far as their next commit, each of them, and then one call makes all these commits, and may bring the next
messages with it. A turn that has something to perform leaves the others at that point, because it may take long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from settled import Key, Machine, Policy, TurnEnd
from settled.durable import Backend, Capability, Delivery
from settled.durable.commands import Extend, Finish, Load, LoadDeadLetters, Release
from settled_runtime.events import HostEvent, Observer, log
from settled_runtime.host_context import HostContext, by_key
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner

_IMMEDIATE = (Load, LoadDeadLetters, Release, Extend)
"""What a turn that goes beside others performs by itself, because it is soon done."""


class Host:
    """Takes messages through the instances of some machines, and of those machines' child machines.

    Args:
        machines: those that live here.
        backend: where they live.
        policy: how patient turns are; its lease is the backend's.
        observers: who is told what happens.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any, Any]],
        backend: Backend,
        *,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (log,),
    ) -> None:
        self._context = HostContext.of(machines, backend, policy, observers)
        self.backend = backend

    def observe(self, notice: HostEvent) -> None:
        """Tell the observers."""
        self._context.observe(notice)

    def handle(
        self, deliveries: Sequence[Delivery], interruption: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]:
        """Take `deliveries` through their turns, one key after the other.

        Args:
            interruption: once it is set, what runs is abandoned and handed back.
            deadline: when that happens by itself, in seconds since the epoch by the backend's clock.

        Returns:
            For each key how its turn ended, or the error with which it could not go on.
        """
        held = {key: self.hold(group) for key, group in by_key(deliveries).items()}
        return {key: self.take(key, group, interruption or StopSignal(), deadline) for key, group in held.items()}

    def serve(self, deliveries: Sequence[Delivery], receive: int = 0) -> Sequence[Delivery]:
        """Take `deliveries` through their turns, side by side as far as that goes.

        Returns:
            Up to `receive` next deliveries, if there are any; see `go_on_together`.
        """
        turns = [self.begin(key, self.hold(group), StopSignal()) for key, group in by_key(deliveries).items()]
        ahead = self.go_on_together(turns, receive)
        for turn in turns:
            turn.run()
        return ahead

    def hold(self, deliveries: Sequence[Delivery]) -> HeldDeliveries:
        """Extend the leases of `deliveries`, all of one key, until their turn is over or they are given back."""
        return self._context.leases.hold(deliveries)

    def take(
        self, key: Key, held: HeldDeliveries, interruption: StopSignal, deadline: float | None = None
    ) -> TurnEnd | Exception:
        """Take what is `held` of `key` through one turn."""
        return self.begin(key, held, interruption, deadline).run()

    def begin(
        self, key: Key, held: HeldDeliveries, interruption: StopSignal, deadline: float | None = None
    ) -> TurnRunner:
        """The turn of what is `held` of `key`, before anything was done."""
        return TurnRunner(self._context, key, held, interruption, deadline)

    def go_on_together(self, turns: Iterable[TurnRunner], receive: int = 0) -> Sequence[Delivery]:
        """Take `turns`, of different keys, to where each is over or has something to perform.

        Returns:
            Up to `receive` next deliveries, if there are any. From a backend that does not declare
            `Capability.JOINT_FINISH` there are none, and the turns stand where they stood.
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
            done = self._context.backend_commands.finish_all([*commits.values()], receive)
        except Exception as error:
            for turn, commit in commits.items():
                turn.resume_after_commit(commit, error)
            return ()
        for turn, commit in commits.items():
            turn.resume_after_commit(commit, done.refused.get(turn.key))
        return done.deliveries

    def release(self, held: HeldDeliveries, delay: float = 0.0) -> None:
        """Release what is `held` without a turn."""
        self._context.release(held, delay)

    def close(self) -> None:
        """End the host's own thread. The backend stays open."""
        self._context.leases.close()
