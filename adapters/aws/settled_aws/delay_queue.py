"""The delay queue: a standard SQS queue that holds back each message until it is due, for waits of up to 15 minutes.

SQS cannot delay single messages of a FIFO queue, and EventBridge Scheduler may be a minute late. The receiver of a due
message (a worker or the Lambda function) sends it to the FIFO queue and then deletes it here: at least once, and never
early. A message here cannot be found again, so a timer here cannot be cancelled.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from settled.durable.messages import Message
from settled.errors import EventError
from settled_aws.client_protocols import SqsClient
from settled_aws.envelope import from_text, to_text
from settled_aws.errors import translated

MAX_DELAY_SECONDS = 15 * 60
"""SQS' limit on DelaySeconds."""

POLL_INTERVAL = 1.0
"""After a poll that found nothing, this process does not poll again for this many seconds: each poll costs money."""

FORWARD_VISIBILITY_TIMEOUT = 5
"""Visibility timeout of a message that is being forwarded. If it runs out, the second copy is recognised by its id."""


class DelayQueue:
    """The standard queue at `url`. `ticks` counts seconds from an arbitrary start."""

    def __init__(self, client: SqsClient, url: str, ticks: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._url = url
        self._ticks = ticks
        self._last_poll = -math.inf
        self._lock = threading.Lock()

    def put(self, message: Message, wait: float) -> None:
        """Add `message`, due in `wait` seconds (rounded up; at most `MAX_DELAY_SECONDS`).

        Raises:
            TooLargeError: it is larger than SQS allows; it was not sent.
        """
        with translated(f"delaying a message in {self._url}"):
            self._client.send_message(QueueUrl=self._url, MessageBody=to_text(message), DelaySeconds=math.ceil(wait))

    def forward(self, send: Callable[[Sequence[Message]], None]) -> None:
        """Pass up to ten due messages to `send`. Do nothing within `POLL_INTERVAL` of a poll that found none."""
        if not self._is_poll_due():
            return
        with translated(f"receiving from {self._url}", repeatable=True):
            response = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, VisibilityTimeout=FORWARD_VISIBILITY_TIMEOUT
            )
        received = [(each, _message(each)) for each in response.get("Messages", ())]
        due = [(each, message) for each, message in received if message is not None]
        if not due:
            return
        self._last_poll = -math.inf  # there may be more: poll again at the next call
        # Send before deleting: a crash in between repeats a message, the reverse order would lose it.
        send([message for _, message in due])
        entries = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, (each, _) in enumerate(due)]
        # Repeatable: what is not deleted is forwarded again, and its id is known by then.
        with translated(f"deleting from {self._url}", repeatable=True):
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _is_poll_due(self) -> bool:
        with self._lock:
            now = self._ticks()
            if 0 <= now - self._last_poll < POLL_INTERVAL:  # negative if a clock of the caller's was set back
                return False
            self._last_poll = now
            return True


def _message(received: Any) -> Message | None:
    """Decode a received message; None if it is not settled's. Those stay for the queue's own dead-letter queue."""
    try:
        return from_text(received["Body"])
    except EventError:
        return None
