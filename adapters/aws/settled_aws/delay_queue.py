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
from contextlib import suppress
from typing import Any

from settled.durable.commands import ReleaseReason
from settled.durable.messages import Message
from settled.durable.release_delays import release_delay
from settled.errors import EventError, SettledError
from settled_aws.client_protocols import SqsClient
from settled_aws.envelope import from_text, to_text
from settled_aws.errors import translated
from settled_aws.set_aside import set_aside

MAX_DELAY_SECONDS = 15 * 60
"""SQS' limit on DelaySeconds."""

POLL_INTERVAL = 1.0
"""After a poll that found nothing, this process does not poll again for this many seconds: each poll costs money."""

FORWARD_VISIBILITY_TIMEOUT = 5
"""Visibility timeout of a message that is being forwarded. If it runs out, the second copy is recognised by its id."""

MAX_ENTRIES = 10
"""SQS' limit on the entries of one request."""

_RECEIVES = "ApproximateReceiveCount"


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
        """Pass up to ten due messages to `send`. Do nothing within `POLL_INTERVAL` of a poll that found none.

        If `send` raises, they come back later each time, so that an outage does not use up their receives.
        """
        if not self._is_poll_due():
            return
        with translated(f"receiving from {self._url}", repeatable=True):
            response = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=FORWARD_VISIBILITY_TIMEOUT,
                MessageSystemAttributeNames=[_RECEIVES],
            )
        received = response.get("Messages", ())
        messages = [_message(each) for each in received]
        done = [each for each, message in zip(received, messages, strict=True) if message or self._set_aside(each)]
        if not done:
            return
        self._last_poll = -math.inf  # there may be more: poll again at the next call
        # Send before deleting: a crash in between repeats a message, the reverse order would lose it.
        try:
            send([message for message in messages if message is not None])
        except SettledError as error:
            ours = [each for each, message in zip(received, messages, strict=True) if message]
            counted = [(each["ReceiptHandle"], int(each["Attributes"][_RECEIVES])) for each in ours]
            release_later(self._client, self._url, counted, error)
            raise
        entries = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(done)]
        # Repeatable: what is not deleted is forwarded again, and its id is known by then.
        with translated(f"deleting from {self._url}", repeatable=True):
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _set_aside(self, received: Any) -> bool:
        return set_aside(self._client, self._url, received["Body"], received["MessageId"])

    def _is_poll_due(self) -> bool:
        with self._lock:
            now = self._ticks()
            if 0 <= now - self._last_poll < POLL_INTERVAL:  # negative if a clock of the caller's was set back
                return False
            self._last_poll = now
            return True


def release_later(client: SqsClient, url: str, received: Sequence[tuple[str, int]], error: SettledError) -> None:
    """Let messages that could not be forwarded because of `error` come back later each time.

    Args:
        client: a client of the service ``sqs``.
        url: the URL of the queue that has delivered them.
        received: the receipt handle of each, and how often it was received.
        error: decides about the wait.
    """
    delays = [(receipt, release_delay(ReleaseReason.ERROR, receives, error)) for receipt, receives in received]
    entries = [
        {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": math.ceil(delay)}
        for number, (receipt, delay) in enumerate(delays)
    ]
    for start in range(0, len(entries), MAX_ENTRIES):
        # If it fails, they come back after the visibility timeout that they have.
        with suppress(SettledError), translated(f"releasing to {url}", repeatable=True):
            client.change_message_visibility_batch(QueueUrl=url, Entries=entries[start : start + MAX_ENTRIES])


def _message(received: Any) -> Message | None:
    """Decode a received message; None if it is not settled's."""
    try:
        return from_text(received["Body"])
    except EventError:
        return None
