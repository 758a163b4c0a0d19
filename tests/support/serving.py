"""Turns that commit together, as a worker lets them."""

from __future__ import annotations

from collections.abc import Sequence

from settled.durable import Delivery
from settled_runtime import StopSignal
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.turn_runner import turns_for


def serve(context: HostContext, deliveries: Sequence[Delivery], receive: int = 0) -> Sequence[Delivery]:
    """Take `deliveries` through their turns, and return up to `receive` next deliveries that came with the commits."""
    turns = turns_for(context, deliveries, StopSignal())
    following = commit_together(context, turns, lambda: receive)
    for turn in turns:
        turn.run()
    return following
