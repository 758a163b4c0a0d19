"""The synchronous host: runs the turns of deliveries in the thread that calls it."""

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
    """Runs the turns of some machines' instances: loads them, applies messages, commits, and performs effects.

    Several threads may call `handle` at the same time. A daemon thread renews the leases of all deliveries at work.

    Args:
        machines: the machines to serve. Their child machines are served too, and need not be listed.
        backend: the store, queue and timers that the instances live in.
        policy: retries, dead-lettering and windows; `Policy.lease` is replaced by the backend's lease.
        observers: functions that are called with each `HostEvent`, in the thread in which it happens. By default one
            that writes to the logger ``settled``.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any]],
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
        """Run the turns of `deliveries`, one key after the other.

        Return when all turns are over. Each turn acknowledges or releases its own deliveries, so the caller need do
        neither. If a turn raises, its deliveries are released for some seconds, and the other turns go on.

        Args:
            deliveries: deliveries of the backend's queue, of any keys; those of one key in the queue's order.
            stop_signal: once it is set, running actors are abandoned and their messages released.
            deadline: when to do so even if the signal is not set, in seconds since the epoch by the backend's clock.

        Returns:
            For each key, how its turn ended, or the error that ended it.
        """
        stop_signal = stop_signal or StopSignal()
        # All leases are renewed from here on: the last key must not lose its own while the first turns are running.
        held = {key: self._turns.hold(group) for key, group in by_key(deliveries).items()}
        return {key: self._turns.start(key, group, stop_signal, deadline).run() for key, group in held.items()}

    def close(self) -> None:
        """Stop renewing leases and end the thread that does. The backend stays open."""
        self._turns.context.leases.close()


def turns_of(host: Host) -> HostTurns:
    """Return the turns of `host`, for a worker to run. Internal: a host's users call `Host.handle`."""
    return host._turns  # pyright: ignore[reportPrivateUsage] (the class is in this module)
