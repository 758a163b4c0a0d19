"""What is asked of Google's clients: the calls that are made, and no more.

The clients are the generated ones, such as ``google.cloud.firestore_v1.services.firestore.FirestoreClient``: a call of
theirs is one request, with a time limit and without retries of its own, which the hand-written ones on top of them do
not let everybody say. What they are called with and what they answer is the vendor's, and documented there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class FirestoreClient(Protocol):
    """The generated client of Firestore."""

    def commit(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def rollback(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def batch_get_documents(self, request: Any = None, *, retry: Any = None, timeout: float) -> Iterable[Any]: ...

    def run_query(self, request: Any = None, *, retry: Any = None, timeout: float) -> Iterable[Any]: ...


def firestore_client(emulator: str | None = None) -> FirestoreClient:
    """A client of Firestore by the credentials that the environment has, or of the emulator at HOST:PORT."""
    from google.cloud.firestore_v1.services.firestore import FirestoreClient as Client  # noqa: PLC0415
    from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport  # noqa: PLC0415

    if emulator is None:
        return Client()
    return Client(transport=FirestoreGrpcTransport(channel=unguarded(emulator)))


def unguarded(address: str) -> Any:
    """A channel to an emulator, which asks for no credentials; messages may be as large as they are elsewhere."""
    import grpc  # noqa: PLC0415

    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(address, options=unbounded)
