"""The host: takes deliveries through turns, in the thread that calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from settled import Key, Machine, Policy, TurnEnd
from settled.durable import Backend, Delivery
from settled_runtime.events import Observer, log
from settled_runtime.host_context import HostContext, by_key
from settled_runtime.host_turns import HostTurns
from settled_runtime.shutdown import StopSignal


class Host:
    """Takes messages through the instances of some machines, and of those machines' child machines.

    Args:
        machines: the machines whose instances this host serves.
        backend: the store, queue and timers that the instances live in.
        policy: how patient turns are; the host sets its lease to the backend's.
        observers: functions that are called with each `HostEvent`.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any, Any]],
        backend: Backend,
        *,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (log,),
    ) -> None:
        self._turns = HostTurns(HostContext.of(machines, backend, policy, observers))
        self.backend = backend

    def handle(
        self, deliveries: Sequence[Delivery], stop_signal: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]:
        """Take `deliveries` through their turns, one key after the other.

        Args:
            deliveries: what a queue has delivered, of any keys.
            stop_signal: once it is set, running actors are abandoned and their messages released.
            deadline: when that happens by itself, in seconds since the epoch by the backend's clock.

        Returns:
            For each key how its turn ended, or the error that ended it.
        """
        stop_signal = stop_signal or StopSignal()
        # All leases are renewed from the start: the last key must not lose its own while the first ones are at work.
        held = {key: self._turns.hold(group) for key, group in by_key(deliveries).items()}
        return {key: self._turns.start(key, group, stop_signal, deadline).run() for key, group in held.items()}

    def close(self) -> None:
        """Stop the host's own thread. The backend stays open."""
        self._turns.context.leases.close()


def turns_of(host: Host) -> HostTurns:
    """Return the turns of `host`, for a worker to drive: not part of what a host offers its users."""
    return host._turns  # pyright: ignore[reportPrivateUsage]
