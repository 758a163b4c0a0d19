"""An event source mapping from a queue to a Lambda function, as AWS documents it.

- It receives up to `batch` messages, under the queue's own visibility timeout. From a standard queue it may continue
  receiving for `window` seconds; from a FIFO queue it must not.
- Several invocations run in parallel, each in its own environment. The FIFO queue keeps messages of one group out of
  all but one of them: a group is blocked while one of its messages is in flight.
- The messages that the response lists in ``batchItemFailures`` stay in the queue, and the others are deleted. Without
  failures all are deleted. A failed invocation, or a response that is malformed or lists a message that is not in
  the batch, deletes none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.emulators.lambda_runtime import Environment, Invocation

Invoke = Callable[[Any], Invocation]


class EventSource:
    """A mapping from the queue at `url` to a function; `environment` creates one environment for each poller."""

    def __init__(
        self,
        sqs: Any,
        url: str,
        environment: Callable[[], Environment],
        pollers: int = 2,
        batch: int = 10,
        window: float = 0.0,
    ) -> None:
        self._sqs, self._url, self._batch = sqs, url, batch
        self._window = 0.0 if url.endswith(".fifo") else window
        self._stopping = threading.Event()
        self.environments = [environment() for _ in range(pollers)]
        self.invocations: list[tuple[Any, Invocation]] = []
        self._threads = [threading.Thread(target=self._poll, args=(each,)) for each in self.environments]

    def __enter__(self) -> EventSource:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for environment in self.environments:
            environment.close()

    def _poll(self, environment: Environment) -> None:
        while not self._stopping.is_set():
            messages = self._receive()
            if messages:
                event = {"Records": [self._record(message) for message in messages]}
                ended = environment.invoke(event)
                self.invocations.append((event, ended))
                self._delete(messages, ended)

    def _receive(self) -> list[Any]:
        end, messages = time.monotonic() + self._window, list[Any]()
        while len(messages) < self._batch:
            response = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(10, self._batch - len(messages)),
                WaitTimeSeconds=1,
                MessageSystemAttributeNames=["All"],
            )
            messages += response.get("Messages", [])
            if time.monotonic() >= end:
                break
        return messages

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        account, name = self._url.split("/")[-2:]
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:eu-central-1:{account}:{name}",
            "awsRegion": "eu-central-1",
        }

    def _delete(self, messages: Sequence[Mapping[str, Any]], ended: Invocation) -> None:
        failed = failures(ended, {message["MessageId"] for message in messages})
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
            if message["MessageId"] not in failed
        ]
        for start in range(0, len(entries), 10):
            self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries[start : start + 10])


def failures(ended: Invocation, batch: set[str]) -> set[str]:
    """Return the ids of `batch` that stay in the queue after an invocation."""
    if ended.error is not None:
        return batch
    if ended.payload in (None, {}):
        return set()
    try:
        listed = [item["itemIdentifier"] for item in ended.payload["batchItemFailures"] or ()]
    except (TypeError, KeyError):
        return batch
    return set(listed) if batch.issuperset(listed) else batch
