"""The dead-letter queues of AWS: of the FIFO queues, of the delay queue, and of the schedules.

SQS moves a message there after so many receives, as the queue's redrive policy says, in the order of its group. In a
FIFO queue, AWS says, its time is then that of the move. EventBridge Scheduler sends there what it could not deliver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from botocore.exceptions import ClientError

from settled.data import is_object, parse
from settled.durable.messages import Message
from settled.errors import BackendConfigError, EventError
from settled_aws.client_protocols import SqsClient
from settled_aws.envelope import from_text
from settled_aws.errors import code_of, translated
from settled_aws.queue import MAX_BATCH_SIZE
from settled_runtime.dead_letter_queue import DeadLetterQueue, DroppedMessage

HIDDEN_SECONDS = 60
"""The visibility timeout of what is received here."""

ATTEMPTS = 3
"""How often the queue is asked before it is taken to be empty: without a wait, SQS asks only some of its servers."""

SHOWN_CHARACTERS = 200
"""How much of a message is shown to people."""

_NO_QUEUE = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})


@frozen
class SqsDeadLetterQueue:
    """The dead-letter queue at `url`."""

    client: SqsClient
    url: str
    has_timers_only: bool

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def receive(self) -> Sequence[DroppedMessage]:
        for _ in range(ATTEMPTS):
            with translated(f"receiving from {self.url}", repeatable=True):
                response = self.client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=MAX_BATCH_SIZE,
                    VisibilityTimeout=HIDDEN_SECONDS,
                    MessageSystemAttributeNames=["SentTimestamp"],
                )
            if found := [_dropped(each) for each in response.get("Messages", ())]:
                return found
        return ()

    def delete(self, messages: Sequence[DroppedMessage]) -> None:
        for start in range(0, len(messages), MAX_BATCH_SIZE):
            some = messages[start : start + MAX_BATCH_SIZE]
            entries = [{"Id": str(number), "ReceiptHandle": each.receipt} for number, each in enumerate(some)]
            # Repeatable: what is not deleted is received again, and known by then.
            with translated(f"deleting from {self.url}", repeatable=True):
                self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)


def find_dead_letter_queues(
    client: SqsClient, queues: Sequence[str], delays: str, schedules: str
) -> Sequence[DeadLetterQueue]:
    """Return the dead-letter queues that exist.

    Args:
        client: a client of the service ``sqs``.
        queues: the URLs of the FIFO queues.
        delays: the URL of the delay queue.
        schedules: the URL of the dead-letter queue of the schedules.
    """
    found = {url: False for each in queues if (url := _redrive_target(client, each))}
    if url := _redrive_target(client, delays):
        found.setdefault(url, True)
    if _exists(client, schedules):
        found.setdefault(schedules, True)
    return [SqsDeadLetterQueue(client, url, has_timers_only) for url, has_timers_only in found.items()]


def _redrive_target(client: SqsClient, url: str) -> str | None:
    """Return the URL of the dead-letter queue of the queue at `url`; None if it has none."""
    with translated(f"reading the attributes of {url}", repeatable=True):
        response = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = response.get("Attributes", {}).get("RedrivePolicy")
    if not policy:
        return None
    # It is in the account and the region of the queue: SQS allows no other.
    return f"{url.rpartition('/')[0]}/{json.loads(policy)['deadLetterTargetArn'].rpartition(':')[2]}"


def _exists(client: SqsClient, url: str) -> bool:
    try:
        with translated(f"reading the attributes of {url}", repeatable=True):
            client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    except BackendConfigError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and code_of(cause) in _NO_QUEUE:
            return False
        raise
    return True


def _dropped(received: Mapping[str, Any]) -> DroppedMessage:
    text = str(received["Body"])
    at = float(received["Attributes"]["SentTimestamp"]) / 1000
    return DroppedMessage(_message(text), received["MessageId"], received["ReceiptHandle"], at, text[:SHOWN_CHARACTERS])


def _message(text: str) -> Message | None:
    """Decode a message; None if it is not settled's."""
    for each in _texts(text):
        try:
            return from_text(each)
        except EventError:
            continue
    return None


def _texts(text: str) -> Iterator[str]:
    """Yield what may be the text of the message in a dead letter `text`."""
    yield text
    # AWS does not document whether the Scheduler keeps the input of a schedule or the request that it had made of it.
    try:
        request = parse(text)
    except ValueError:
        return
    if is_object(request) and isinstance(body := request.get("MessageBody"), str):
        yield body
