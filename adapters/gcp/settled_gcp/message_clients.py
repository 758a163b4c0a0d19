"""What is asked of the clients of Pub/Sub and Cloud Tasks: the calls that are made, and no more.

The clients are the generated ones, ``google.pubsub_v1.PublisherClient`` and ``SubscriberClient``, and
``google.cloud.tasks_v2.CloudTasksClient``: a call of theirs is one request. The hand-written publisher on top of them
collects messages in the background, and after a failure refuses a key until somebody resumes it; here a failure is that
of one call, and nothing has to be resumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class PublisherClient(Protocol):
    """The generated publisher."""

    def publish(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...


class SubscriberClient(Protocol):
    """The generated subscriber."""

    def pull(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def acknowledge(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...

    def modify_ack_deadline(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...


class StreamingClient(Protocol):
    """The generated subscriber, for what comes in a stream."""

    def streaming_pull(self, requests: Iterator[Any], *, retry: Any = None, timeout: None = None) -> Iterable[Any]: ...


class TasksClient(Protocol):
    """The generated client of Cloud Tasks."""

    def create_task(self, request: Any = None, *, retry: Any = None, timeout: float) -> Any: ...

    def delete_task(self, request: Any = None, *, retry: Any = None, timeout: float) -> None: ...


def publisher_client(region: str | None = None, emulator: str | None = None) -> PublisherClient:
    """A publisher by the credentials that the environment has, or to an emulator at HOST:PORT.

    Messages of a key are in order only if all are published in one `region`; without it, it is the nearest one.
    """
    from google.pubsub_v1 import PublisherClient as Client  # noqa: PLC0415 (whoever passes clients in need not wait)
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport  # noqa: PLC0415 (as above)

    if emulator is not None:
        return Client(transport=PublisherGrpcTransport(channel=_open_channel(emulator)))
    return Client(client_options=_in_region(region))


def subscriber_client(region: str | None = None, emulator: str | None = None) -> SubscriberClient:
    """A subscriber, otherwise as `publisher_client`; it may pull from any region."""
    from google.pubsub_v1 import SubscriberClient as Client  # noqa: PLC0415 (as above)
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport  # noqa: PLC0415 (as above)

    if emulator is not None:
        return Client(transport=SubscriberGrpcTransport(channel=_open_channel(emulator)))
    return Client(client_options=_in_region(region))


def tasks_client(emulator: str | None = None) -> TasksClient:
    """A client of Cloud Tasks, otherwise as `publisher_client`."""
    from google.cloud.tasks_v2 import CloudTasksClient as Client  # noqa: PLC0415 (as above)
    from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport  # noqa: PLC0415 (as above)

    if emulator is not None:
        return Client(transport=CloudTasksGrpcTransport(channel=_open_channel(emulator)))
    return Client()


def _in_region(region: str | None) -> Any:
    return None if region is None else {"api_endpoint": f"{region}-pubsub.googleapis.com:443"}


def _open_channel(address: str) -> Any:
    import grpc  # noqa: PLC0415 (as above)

    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(address, options=unbounded)
