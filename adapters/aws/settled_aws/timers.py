"""Timers: a delay queue for waits of up to 15 minutes, EventBridge Scheduler for longer ones.

A one-time schedule fires up to a minute late and never early (AWS documents a precision of 60 seconds). It sends its
Input to the FIFO queue, in the key's message group, and is deleted. What cannot be sent for a day goes to a
dead-letter queue, from which `recover_dropped` brings it back. Its name is derived from the timer's id, so any
process can replace or cancel it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import field, frozen
from botocore.exceptions import ClientError

from settled.durable.messages import Message, Timer
from settled.durations import in_seconds
from settled.errors import TooLargeError
from settled_aws.client_protocols import SchedulerClient
from settled_aws.delay_queue import MAX_DELAY_SECONDS, DelayQueue
from settled_aws.envelope import size, to_text
from settled_aws.errors import code_of, translated
from settled_aws.names import group_id, schedule_name

MAX_INPUT_BYTES = 256 * 1024
"""Limit on a schedule's Input."""


RETRY_POLICY: Mapping[str, int] = {"MaximumEventAgeInSeconds": 24 * 60 * 60, "MaximumRetryAttempts": 185}
"""For how long the Scheduler tries to send a message: its limits, and its defaults."""


@frozen
class ScheduleTarget:
    """The settings that all schedules share.

    Attributes:
        group: the name of their group.
        queue: the ARN of the FIFO queue.
        role: the ARN of the role that may send to the queues.
        dead_letters: the ARN of the standard queue for what could not be sent for a day.
        queues: the ARNs of the queues of machines that have one of their own, by their ids.
    """

    group: str
    queue: str
    role: str
    dead_letters: str
    queues: Mapping[str, str] = field(factory=dict[str, str])


class EventBridgeTimers:
    """Timers for the FIFO queue of `target`.

    Args:
        scheduler: returns the client of EventBridge Scheduler; called when a timer first needs a schedule.
        target: of schedules.
        delays: keeps timers that are due within 15 minutes.
        send: adds messages to the FIFO queue; used for timers that are due already.
        clock: the time in seconds since the epoch.
        resolution: how far `clock`, and the clock of any receiver, may be behind.
    """

    def __init__(
        self,
        scheduler: Callable[[], SchedulerClient],
        target: ScheduleTarget,
        delays: DelayQueue,
        send: Callable[[Sequence[Message]], None],
        clock: Callable[[], float] = time.time,
        resolution: timedelta = timedelta(),
    ) -> None:
        self._scheduler = scheduler
        self._target = target
        self._delays = delays
        self._send = send
        self._clock = clock
        self._resolution = in_seconds(resolution, "resolution")

    def schedule(self, timer: Timer) -> None:
        """Arrange for ``timer.message`` to be sent at ``timer.due``, replacing a schedule with the same id.

        A timer that is due within 15 minutes can neither be replaced nor cancelled: its message is delivered anyway,
        and the record, which no longer has that timer, ignores it.
        """
        # A receiver whose clock is behind by the resolution would take a punctual message to be early.
        due = timer.due + self._resolution
        wait = due - self._clock()
        if wait <= 0:
            self._send([timer.message])
        elif wait <= MAX_DELAY_SECONDS:
            self._delays.put(timer.message, wait)
        else:
            self._schedule(timer, due)

    def cancel(self, timer_id: str) -> None:
        name, group = schedule_name(timer_id), self._target.group
        with translated(f"cancelling the timer {timer_id}"):
            _succeeds_unless(_NOT_FOUND, self._scheduler().delete_schedule, Name=name, GroupName=group)

    def _schedule(self, timer: Timer, due: float) -> None:
        scheduler, schedule = self._scheduler(), self._request(timer, due)
        with translated(f"scheduling the timer {timer.id}"):
            if _succeeds_unless(_EXISTS, scheduler.create_schedule, **schedule):
                return
            if not _succeeds_unless(_NOT_FOUND, scheduler.update_schedule, **schedule):
                scheduler.create_schedule(**schedule)  # the old one fired, and was deleted, between the two calls

    def _request(self, timer: Timer, due: float) -> dict[str, Any]:
        text = to_text(timer.message)
        if size(text) > MAX_INPUT_BYTES:
            sizes = f"{size(text):,} bytes; the limit of a schedule is {MAX_INPUT_BYTES:,}"
            raise TooLargeError(f"{timer.message.key}: the message of the timer {timer.id} has {sizes}")
        return {
            "Name": schedule_name(timer.id),
            "GroupName": self._target.group,
            "ScheduleExpression": at_expression(due),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",  # completed schedules count towards the account's quota
            "Target": {
                "Arn": self._target.queues.get(timer.message.key.machine, self._target.queue),
                "RoleArn": self._target.role,
                "Input": text,
                "SqsParameters": {"MessageGroupId": group_id(timer.message.key)},
                "RetryPolicy": RETRY_POLICY,
                "DeadLetterConfig": {"Arn": self._target.dead_letters},
            },
        }


_EXISTS, _NOT_FOUND = "ConflictException", "ResourceNotFoundException"


def _succeeds_unless(code: str, call: Callable[..., Any], **request: Any) -> bool:
    """Make a call. Return False if it fails with AWS's error `code`; raise any other error."""
    try:
        call(**request)
    except ClientError as error:
        if code_of(error) != code:
            raise
        return False
    return True


def at_expression(due: float) -> str:
    """Return the ScheduleExpression for `due`, rounded up to a whole second so that it never fires early."""
    return f"at({datetime.fromtimestamp(math.ceil(due), UTC):%Y-%m-%dT%H:%M:%S})"
