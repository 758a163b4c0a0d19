"""Protocols for Google's clients: the calls that this adapter makes, and no others.

Google's generated clients satisfy them, such as ``google.pubsub_v1.PublisherClient`` and
``google.cloud.firestore_v1.services.firestore.FirestoreClient``. One call of theirs is one request, with a timeout and,
by ``retry=None``, without retries. The hand-written clients on top of them do not allow that everywhere. The
hand-written publisher moreover batches in the background, and after a failure it rejects an ordering key until
``resume_publish``; with the generated one, a failure concerns one call. Google documents the requests and responses.
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

    def get_subscription(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

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
