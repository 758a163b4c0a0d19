"""What is asked of Google's services: the calls that are made, and no more.

The clients are the generated ones, such as ``google.pubsub_v1.PublisherClient`` and
``google.cloud.firestore_v1.services.firestore.FirestoreClient``: a call of theirs is one request, with a time limit and
without retries of its own, which the hand-written ones on top of them do not let everybody say. Of those, the publisher
also collects messages in the background, and after a failure refuses a key until somebody resumes it; here a failure is
that of one call, and nothing has to be resumed. What they are called with and what they answer is documented by Google.
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


class FirestoreClient(Protocol):
    """The generated client of Firestore."""

    def commit(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def batch_write(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def rollback(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def batch_get_documents(self, request: Any = None, *, retry: Any = None, timeout: float) -> Iterable[Any]: ...

    def run_query(self, request: Any = None, *, retry: Any = None, timeout: float) -> Iterable[Any]: ...
