"""Timers in Cloud Tasks: each is a task that publishes its message when it is due.

A task calls Pub/Sub's HTTP API, with the token of a service account that may publish, so no service of ours needs to
run. A task is never early and may be late. Cloud Tasks retries it until Pub/Sub accepts the message, which may then
be published twice.

A task can be scheduled at most 30 days ahead. A timer that waits longer is published before it is due, together with
its due time, and the receiver schedules it again.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen

from settled.durable.messages import Message, Timer
from settled_gcp.client_protocols import TasksClient
from settled_gcp.envelope import timer_to_text, to_text
from settled_gcp.errors import status_of, translated
from settled_gcp.filters import ATTRIBUTE
from settled_gcp.names import machine_attribute, ordering_key, task_ids

MAX_WAIT_SECONDS = 29 * 24 * 60 * 60
"""How far ahead a task is scheduled; Cloud Tasks allows a day more."""

SCOPE = "https://www.googleapis.com/auth/pubsub"
"""The OAuth scope of a task's token."""

TIMEOUT = 10.0
"""The timeout of a request, in seconds."""

_EPOCH = datetime.fromtimestamp(0, UTC)


@frozen
class TaskTarget:
    """The queue of tasks, and the request that they make.

    `queue` is the full name of a Cloud Tasks queue. `url` is that of the topic's ``publish`` method, such as
    ``https://europe-west1-pubsub.googleapis.com/v1/projects/PROJECT/topics/TOPIC:publish``; it should be in the region
    of the other publishers, because Pub/Sub keeps order within a region only. `account` is the e-mail address of the
    service account whose token the tasks use.
    """

    queue: str
    url: str
    account: str


class CloudTasksTimers:
    """Timers as tasks for `target`.

    Args:
        client: returns the client of Cloud Tasks; called when a timer first needs it.
        target: of the tasks.
        send: called with messages that are due already.
        clock: the time in seconds since the epoch.
    """

    def __init__(
        self,
        client: Callable[[], TasksClient],
        target: TaskTarget,
        send: Callable[[Sequence[Message]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._target = target
        self._send = send
        self._clock = clock

    def schedule(self, timer: Timer) -> None:
        """Arrange for ``timer.message`` to be sent at ``timer.due``, replacing a timer with the same id."""
        if timer.due <= self._clock():
            self._send([timer.message])
            return
        # An id of a task that ran or was deleted cannot be used again for up to 24 hours, so a timer has several ids.
        for id in task_ids(timer.id):
            if self._create_task(timer, f"{self._target.queue}/tasks/{id}"):
                return
            self._delete_task(timer.id, id)
        # All ids are used up: Cloud Tasks chooses one. Such a task cannot be cancelled; if the record no longer has the
        # timer, it ignores the message.
        self._create_task(timer, None)

    def cancel(self, timer_id: str) -> None:
        for id in task_ids(timer_id):
            if self._delete_task(timer_id, id):
                return

    def _create_task(self, timer: Timer, name: str | None) -> bool:
        """Create a task for `timer`. Return False if a task with this name exists or existed recently."""
        request = {"parent": self._target.queue, "task": self._task(timer, name)}
        with translated(f"scheduling the timer {timer.id}"):
            try:
                self._client().create_task(request=request, retry=None, timeout=TIMEOUT)
            except Exception as error:
                if status_of(error) != "ALREADY_EXISTS":
                    raise
                return False
        return True

    def _delete_task(self, timer_id: str, id: str) -> bool:
        """Delete the task with this `id`. Return whether it existed."""
        with translated(f"cancelling the timer {timer_id}"):
            try:
                self._client().delete_task(
                    request={"name": f"{self._target.queue}/tasks/{id}"}, retry=None, timeout=TIMEOUT
                )
            except Exception as error:
                if status_of(error) != "NOT_FOUND":
                    raise
                return False
        return True

    def _task(self, timer: Timer, name: str | None) -> dict[str, Any]:
        horizon = self._clock() + MAX_WAIT_SECONDS
        is_near = timer.due <= horizon
        data = to_text(timer.message) if is_near else timer_to_text(timer)
        key = timer.message.key
        published = {
            "data": base64.b64encode(data).decode(),
            "orderingKey": ordering_key(key),
            "attributes": {ATTRIBUTE: machine_attribute(key.machine)},
        }
        return {
            **({} if name is None else {"name": name}),
            "schedule_time": schedule_time(timer.due if is_near else horizon),
            "http_request": {
                "http_method": "POST",
                "url": self._target.url,
                "headers": {"Content-Type": "application/json"},
                "body": json.dumps({"messages": [published]}).encode(),
                "oauth_token": {"service_account_email": self._target.account, "scope": SCOPE},
            },
        }


def schedule_time(due: float) -> datetime:
    """Return `due`, rounded up to a whole microsecond so that the task never runs early."""
    return _EPOCH + timedelta(microseconds=math.ceil(due * 1_000_000))
