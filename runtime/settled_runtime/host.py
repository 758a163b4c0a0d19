"""The synchronous host: runs the turns of deliveries in the thread that calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from settled import Key, Machine, Policy, TurnEnd
from settled.durable import Backend, ClosedOnExit, Delivery
from settled_runtime.events import Observer, log
from settled_runtime.host_context import HostContext
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import run_turns


class Host(ClosedOnExit):
    """Runs the turns of some machines' instances: loads them, applies messages, commits, and performs effects.

    Several threads may call `handle` at the same time. A daemon thread renews the leases of all deliveries at work.
    Used as a context manager, the host is closed at the end.

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
        self._context = HostContext.of(machines, backend, policy, observers)
        self.backend = backend

    def handle(
        self, deliveries: Sequence[Delivery], stop_signal: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]:
        """Run the turns of `deliveries`, one key after the other; those that must run alone come last.

        Return when all turns are over. Each turn acknowledges or releases its own deliveries, so the caller need do
        neither. If a turn raises, its deliveries are released for some seconds, and the other turns go on.

        Args:
            deliveries: deliveries of the backend's queue, of any keys; those of one key in the queue's order.
            stop_signal: once it is set, running actors are abandoned and their messages released.
            deadline: when to do so even if the signal is not set, in seconds since the epoch by the backend's clock.

        Returns:
            For each key, how its turn ended, or the error that ended it.
        """
        return run_turns(self._context, deliveries, stop_signal, deadline)

    def close(self) -> None:
        """Stop renewing leases and end the thread that does. The backend stays open."""
        self._context.leases.close()
