"""The capabilities that settled's own local and Redis adapters have to declare."""

from __future__ import annotations

from settled.durable import Capability

REQUIRED = frozenset(
    {
        Capability.ATOMIC_FINISH,
        Capability.JOINT_FINISH,
        Capability.FENCED_FINISH,
        Capability.POSITIONS,
        Capability.SELECTIVE_RECEIVE,
        Capability.BACKLOG,
        Capability.SCAN,
        Capability.WATCH,
        Capability.DEDUPLICATION,
        Capability.NO_DELIVERY_AFTER_ACK,
        Capability.NO_DELIVERY_AFTER_CANCEL,
    }
)
"""All that there are today, one by one: one that is new is required only when an adapter is to have it."""
