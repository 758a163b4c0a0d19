"""Short waits: a standard SQS queue that keeps each message back until it is due.

A FIFO queue cannot delay one message, and EventBridge Scheduler may be a minute late, so a wait of up to 15 minutes is
spent here. Whoever receives from here, a worker or the Lambda function, sends the message on and then deletes it: at
least once, and never early. What waits here cannot be found again, and so cannot be taken back.
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

LONGEST_DELAY = 15 * 60
"""For how many seconds SQS can delay a message."""

LOOK_EVERY = 1.0
"""For how many seconds nobody looks again where nothing was due: a look is a request, and is paid for."""

TIME_TO_FORWARD = 5
"""For how many seconds a message that is being sent on is kept from others; one that is sent on twice is known."""


class DelayQueue:
    """The standard queue at `url`. `ticks` is in seconds since whenever: only what passes counts."""

    def __init__(self, client: SqsClient, url: str, ticks: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._url = url
        self._ticks = ticks
        self._looked = -math.inf
        self._lock = threading.Lock()

    def put(self, message: Message, wait: float) -> None:
        """Let `message` be forwarded in `wait` seconds, rounded up; at most `LONGEST_DELAY`."""
        with translated(f"delaying a message in {self._url}"):
            self._client.send_message(QueueUrl=self._url, MessageBody=to_text(message), DelaySeconds=math.ceil(wait))

    def forward(self, send: Callable[[Sequence[Message]], None]) -> None:
        """Send on up to ten messages that are due, unless somebody in this process has just looked in vain."""
        if not self._is_time():
            return
        with translated(f"receiving from {self._url}", reading=True):
            answer = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, VisibilityTimeout=TIME_TO_FORWARD
            )
        found = [(each, _message(each)) for each in answer.get("Messages", ())]
        due = [(each, message) for each, message in found if message is not None]
        if not due:
            return
        self._looked = -math.inf  # where some are due there may be more
        send([message for _, message in due])
        entries = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, (each, _) in enumerate(due)]
        with translated(f"deleting from {self._url}", reading=True):  # what stays is sent on again, and known
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _is_time(self) -> bool:
        with self._lock:
            now = self._ticks()
            if 0 <= now - self._looked < LOOK_EVERY:  # a clock that was passed in may be set back
                return False
            self._looked = now
            return True


def _message(received: Any) -> Message | None:
    """The message in what was received; None if it is not settled's, and left to the queue's dead-letter queue."""
    try:
        return from_text(received["Body"])
    except EventError:
        return None
