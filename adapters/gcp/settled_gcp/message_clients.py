"""What is asked of the clients of Pub/Sub and Cloud Tasks: the calls that are made, and no more.

The clients are the generated ones, ``google.pubsub_v1.PublisherClient`` and ``SubscriberClient``, and
``google.cloud.tasks_v2.CloudTasksClient``: a call of theirs is one request. The hand-written publisher on top of them
collects messages in the background, and after a failure refuses a key until somebody resumes it; here a failure is that
of one call, and nothing has to be resumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class PublisherClient(Protocol):
    """The generated publisher."""

    def publish(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...


class SubscriberClient(Protocol):
    """The generated subscriber."""

    def pull(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def acknowledge(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...

    def modify_ack_deadline(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...

    def streaming_pull(
        self, requests: Any = None, *, retry: Any = None, timeout: None = None, metadata: Any = ()
    ) -> Iterable[Any]: ...


class TasksClient(Protocol):
    """The generated client of Cloud Tasks."""

    def create_task(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def delete_task(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...
