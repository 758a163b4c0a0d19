"""Timers: EventBridge Scheduler for the long waits, and a delay queue for those it is too coarse for.

A schedule fires once, up to a minute late and never early, puts its text into the FIFO queue under the key's group, and
is deleted. Its name follows from the timer's id, so whoever schedules again replaces, and whoever cancels need not have
scheduled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from botocore.exceptions import ClientError

from settled.durable.messages import Message, Timer
from settled.errors import TooLargeError
from settled_aws.client_protocols import SchedulerClient
from settled_aws.delay_queue import LONGEST_DELAY, DelayQueue
from settled_aws.envelope import size, to_text
from settled_aws.errors import code_of, translated
from settled_aws.names import group_id, schedule_name

LARGEST_INPUT = 256 * 1024
"""How many bytes a schedule may send."""


@frozen
class ScheduleTarget:
    """Where schedules are kept and what they reach.

    `group` is the schedule group, `queue` the ARN of the FIFO queue, `role` the ARN of the role that may send to it.
    """

    group: str
    queue: str
    role: str


class EventBridgeTimers:
    """Timers over the FIFO queue that `target` names and `send` sends to.

    `scheduler` makes the client when the first long timer needs one. `clock` is the time in seconds since the epoch. It
    may be behind by `resolution`, and so may that of whoever receives: what comes that much later is early to nobody.
    """

    def __init__(
        self,
        scheduler: Callable[[], SchedulerClient],
        target: ScheduleTarget,
        delays: DelayQueue,
        send: Callable[[Sequence[Message]], None],
        clock: Callable[[], float] = time.time,
        resolution: float = 0.0,
    ) -> None:
        self._scheduler = scheduler
        self._target = target
        self._delays = delays
        self._send = send
        self._clock = clock
        self._resolution = resolution

    def schedule(self, timer: Timer) -> None:
        """Send ``timer.message`` at ``timer.due``.

        The same id again replaces a schedule. A wait of less than 15 minutes cannot be taken back: its message comes,
        and the record, which does not expect it any more, drops it.
        """
        due = timer.due + self._resolution
        wait = due - self._clock()
        if wait <= 0:
            self._send([timer.message])
        elif wait <= LONGEST_DELAY:
            self._delays.put(timer.message, wait)
        else:
            self._schedule(timer, due)

    def cancel(self, timer_id: str) -> None:
        name, group = schedule_name(timer_id), self._target.group
        with translated(f"cancelling the timer {timer_id}"):
            _unless(_GONE, self._scheduler().delete_schedule, Name=name, GroupName=group)

    def _schedule(self, timer: Timer, due: float) -> None:
        scheduler, schedule = self._scheduler(), self._request(timer, due)
        with translated(f"scheduling the timer {timer.id}"):
            if _unless(_THERE, scheduler.create_schedule, **schedule):
                return
            if not _unless(_GONE, scheduler.update_schedule, **schedule):
                scheduler.create_schedule(**schedule)  # it has fired between the two

    def _request(self, timer: Timer, due: float) -> dict[str, Any]:
        text = to_text(timer.message)
        if size(text) > LARGEST_INPUT:
            sizes = f"{size(text):,} bytes, and a schedule sends {LARGEST_INPUT:,}"
            raise TooLargeError(f"{timer.message.key}: the message of the timer {timer.id} has {sizes}")
        return {
            "Name": schedule_name(timer.id),
            "GroupName": self._target.group,
            "ScheduleExpression": at(due),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self._target.queue,
                "RoleArn": self._target.role,
                "Input": text,
                "SqsParameters": {"MessageGroupId": group_id(timer.message.key)},
            },
        }


_THERE, _GONE = "ConflictException", "ResourceNotFoundException"


def _unless(code: str, call: Callable[..., Any], **request: Any) -> bool:
    """Whether `call` did it; not so if it failed with `code`."""
    try:
        call(**request)
    except ClientError as error:
        if code_of(error) != code:
            raise
        return False
    return True


def at(due: float) -> str:
    """The expression of a schedule for `due`, rounded up to a whole second."""
    return f"at({datetime.fromtimestamp(math.ceil(due), UTC):%Y-%m-%dT%H:%M:%S})"
