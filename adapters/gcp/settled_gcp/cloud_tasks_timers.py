"""Timers: a task of Cloud Tasks for each, which publishes its message when it is due.

A task calls Pub/Sub's own HTTP API, as a service account that may publish, so no service of ours has to be up. It is
never early and may be late, is tried again until Pub/Sub has taken it, and may then come twice.

A task waits for 30 days at most. What waits longer is published before it is due, with a note of when that is, and
whoever receives it schedules it again.
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
from settled_gcp.names import ordering_key, task_ids

LONGEST_WAIT = 29 * 24 * 60 * 60
"""For how many seconds a task is left to wait; Cloud Tasks would take a day more."""

SCOPE = "https://www.googleapis.com/auth/pubsub"
"""What the token that a task carries may be used for."""

TIMEOUT = 10.0
"""How many seconds a request may take."""

_EPOCH = datetime.fromtimestamp(0, UTC)


@frozen
class TaskTarget:
    """Where tasks wait and what they reach.

    `queue` is the full name of a queue of Cloud Tasks. `url` is that of the topic's ``publish`` method, such as
    ``https://europe-west1-pubsub.googleapis.com/v1/projects/PROJECT/topics/TOPIC:publish``; it should be in the region
    where all others publish. `account` is the e-mail address of the service account whose token a task carries.
    """

    queue: str
    url: str
    account: str


class CloudTasksTimers:
    """Timers over the queue and the topic that `target` names; what is due already is given to `send`.

    `client` makes the client when the first timer needs one. `clock` is the time in seconds since the epoch.
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
        """Send ``timer.message`` at ``timer.due``; the same id again replaces what was scheduled under it.

        Cloud Tasks remembers the id of a task for up to a day after its end, so a timer has several. When all are used
        up the task is made without one: it cannot be taken back, and if it is stale the record drops it.
        """
        if timer.due <= self._clock():
            self._send([timer.message])
            return
        for id in task_ids(timer.id):
            if self._is_created(timer, f"{self._target.queue}/tasks/{id}"):
                return
            self._is_deleted(timer.id, id)
        self._is_created(timer, None)

    def cancel(self, timer_id: str) -> None:
        for id in task_ids(timer_id):
            if self._is_deleted(timer_id, id):
                return

    def _is_created(self, timer: Timer, name: str | None) -> bool:
        """Whether there is a task for `timer` now; not if there is, or has just been, another one of this `name`."""
        request = {"parent": self._target.queue, "task": self._task(timer, name)}
        with translated(f"scheduling the timer {timer.id}"):
            try:
                self._client().create_task(request=request, retry=None, timeout=TIMEOUT)
            except Exception as error:
                if status_of(error) != "ALREADY_EXISTS":
                    raise
                return False
        return True

    def _is_deleted(self, timer_id: str, id: str) -> bool:
        """Whether there was a task of this `id`."""
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
        horizon = self._clock() + LONGEST_WAIT
        is_near = timer.due <= horizon
        data = to_text(timer.message) if is_near else timer_to_text(timer)
        published = {"data": base64.b64encode(data).decode(), "orderingKey": ordering_key(timer.message.key)}
        return {
            **({} if name is None else {"name": name}),
            "schedule_time": at(timer.due if is_near else horizon),
            "http_request": {
                "http_method": "POST",
                "url": self._target.url,
                "headers": {"Content-Type": "application/json"},
                "body": json.dumps({"messages": [published]}).encode(),
                "oauth_token": {"service_account_email": self._target.account, "scope": SCOPE},
            },
        }


def at(due: float) -> datetime:
    """The moment `due`, rounded up to a whole microsecond."""
    return _EPOCH + timedelta(microseconds=math.ceil(due * 1_000_000))
