"""What is asked of Google's clients: the calls that are made, and no more.

The clients are the generated ones, such as ``google.cloud.firestore_v1.services.firestore.FirestoreClient``: a call of
theirs is one request, with a time limit and without retries of its own, which the hand-written ones on top of them do
not let everybody say. What they are called with and what they answer is the vendor's, and documented there.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol


class FirestoreClient(Protocol):
    """The generated client of Firestore."""

    def commit(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def batch_write(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

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
    """A channel to an emulator, which believes whoever says that he is the owner; messages may be of any size."""
    grpc: Any = import_module("grpc")

    class Owner(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            metadata = [*(client_call_details.metadata or ()), ("authorization", "Bearer owner")]
            return continuation(client_call_details._replace(metadata=metadata), request)

        intercept_unary_stream = intercept_unary_unary

    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.intercept_channel(grpc.insecure_channel(address, options=unbounded), Owner())
