"""Turns that commit together, as a worker lets them."""

from __future__ import annotations

from collections.abc import Sequence

from settled.durable import Delivery
from settled_runtime import Host, StopSignal
from settled_runtime.host import turns_of
from settled_runtime.host_context import by_key


def serve(host: Host, deliveries: Sequence[Delivery], receive: int = 0) -> Sequence[Delivery]:
    """Take `deliveries` through their turns, and return up to `receive` next deliveries that came with the commits."""
    turns = turns_of(host)
    started = [turns.start(key, turns.hold(group), StopSignal()) for key, group in by_key(deliveries).items()]
    following = turns.commit_together(started, receive)
    for turn in started:
        turn.run()
    return following
