"""Timers in a sorted set by due time, until the queue finds them due.

No process waits for a timer: each `receive` moves the due ones into the queue, in the same script, so a timer is always
either in its set or in the queue. A timer whose instance is in another partition is sent there first and removed
afterwards; if its message is sent twice, it is deduplicated by its id.
"""

from __future__ import annotations

from settled.durable.messages import Timer
from settled_redis.script_args import ScriptArgs
from settled_redis.script_client import ScriptClient


class RedisTimers:
    """The timers of a `RedisBackend`."""

    def __init__(self, script_client: ScriptClient) -> None:
        self._script_client = script_client

    def schedule(self, timer: Timer) -> None:
        args = ScriptArgs(self._script_client.space.of_timer(timer.id))
        args.schedule(timer, self._script_client.space.of_key(timer.message.key))
        self._script_client.run(args)

    def cancel(self, timer_id: str) -> None:
        args = ScriptArgs(self._script_client.space.of_timer(timer_id))
        args.cancel(timer_id)
        self._script_client.run(args)
