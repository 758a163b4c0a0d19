"""Timers in a sorted set by when they are due, until the queue finds them so.

There is no clock of their own to run: whoever asks the queue for messages moves what is due into it, in the same
script, so a timer is in one of the two places whatever happens. One whose message goes to another partition is sent
there first and forgotten afterwards; sent twice, it is known by its id.
"""

from __future__ import annotations

from settled.durable.messages import Timer
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient


class RedisTimers:
    """The timers of a `RedisBackend`."""

    def __init__(self, performer: ScriptClient) -> None:
        self._performer = performer

    def schedule(self, timer: Timer) -> None:
        steps = ScriptArgs(self._performer.space.of_timer(timer.id))
        steps.schedule(timer, self._performer.space.of_key(timer.message.key))
        self._performer.perform(steps)

    def cancel(self, timer_id: str) -> None:
        steps = ScriptArgs(self._performer.space.of_timer(timer_id))
        steps.cancel(timer_id)
        self._performer.perform(steps)
