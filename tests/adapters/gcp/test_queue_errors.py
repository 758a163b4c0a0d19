"""What Google's errors come to. The statuses come from the tests' server, by the wire and through the real client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import grpc
import pytest
from attrs import frozen
from google.api_core.exceptions import GoogleAPICallError

from settled import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)
from settled.durable import Delivery
from settled_gcp.clients import PUBLISHER, SUBSCRIBER, client_of
from settled_gcp.errors import status_of, translated
from settled_gcp.queue import PubSubQueue
from tests.adapters.gcp.messaging import Messaging
from tests.emulators.running import free_port
from tests.support.builders import ADA, ids, message

CALLS: Any = import_module("google.api_core.exceptions")  # they have no types
INFO: Any = import_module("google.rpc.error_details_pb2")
CREDENTIALS: Any = import_module("google.auth.exceptions")

WRITING: list[tuple[str, type[SettledError]]] = [
    ("ABORTED", UnavailableError),
    ("RESOURCE_EXHAUSTED", UnavailableError),
    ("PERMISSION_DENIED", AccessDeniedError),
    ("UNAUTHENTICATED", AccessDeniedError),
    ("NOT_FOUND", BackendConfigError),
    ("FAILED_PRECONDITION", BackendConfigError),
    ("INVALID_ARGUMENT", BackendConfigError),
    ("UNIMPLEMENTED", BackendConfigError),
    ("UNAVAILABLE", OutcomeUnknownError),
    ("DEADLINE_EXCEEDED", OutcomeUnknownError),
    ("CANCELLED", OutcomeUnknownError),
    ("INTERNAL", OutcomeUnknownError),
    ("UNKNOWN", OutcomeUnknownError),
    ("DATA_LOSS", OutcomeUnknownError),
]


class TestStatuses:
    @pytest.mark.parametrize(("status", "kind"), WRITING)
    def test_of_what_was_to_be_sent(self, messaging: Messaging, status: str, kind: type[SettledError]) -> None:
        messaging.server.fail("Publish", status)
        with pytest.raises(kind, match=f"publishing to {messaging.topic}") as raised:
            messaging.queue().send([message(ADA, "1")])
        assert isinstance(raised.value.__cause__, GoogleAPICallError)

    @pytest.mark.parametrize("status", ["UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"])
    def test_of_what_was_only_read_which_can_be_tried_again(self, messaging: Messaging, status: str) -> None:
        messaging.server.fail("Pull", status)
        with pytest.raises(UnavailableError, match="pulling from"):
            messaging.queue().receive(1)

    def test_each_of_them_means_something(self) -> None:
        known = {status for status, _ in WRITING} | {"OK", "ALREADY_EXISTS", "OUT_OF_RANGE"}
        assert known == {code.name for code in grpc.StatusCode}

    def test_a_lost_race_is_a_conflict_only_where_there_is_one(self) -> None:
        error = CALLS.from_grpc_status(grpc.StatusCode.FAILED_PRECONDITION, "the stored version does not match")
        with pytest.raises(ConflictError), translated("committing", races={"FAILED_PRECONDITION"}):
            raise error
        with pytest.raises(BackendConfigError), translated("publishing"):
            raise error

    @pytest.mark.parametrize("call", ["acknowledge", "extend"])
    def test_details_that_are_about_no_receipt_say_nothing_of_leases(self, call: str) -> None:
        """Google's other errors have details, too: a permission that is lacking is named in them."""
        details = INFO.ErrorInfo(reason="IAM_PERMISSION_DENIED", metadata={"permission": "pubsub.topics.publish"})
        refused = CALLS.PermissionDenied("no", error_info=details)
        queue = PubSubQueue(cast("Any", None), cast("Any", Refusing(refused)), "topics/t", "subscriptions/s")
        held = [Delivery(message(ADA, "1"), "receipt", 1, 0.0)]
        with pytest.raises(AccessDeniedError, match="no leave"):
            queue.ack(held) if call == "acknowledge" else queue.extend(held, 60.0)

    def test_a_call_is_one_request_because_the_client_retries_nothing(self, messaging: Messaging) -> None:
        before = messaging.server.requests().get("Publish", 0)
        messaging.server.fail("Publish", "UNAVAILABLE")
        with pytest.raises(OutcomeUnknownError):
            messaging.queue().send([message(ADA, "1")])
        assert messaging.server.requests()["Publish"] - before == 1


class TestSizes:
    @pytest.mark.parametrize(
        "error",
        [
            CALLS.InvalidArgument("The value for message_size is too large. You passed 10000001 in the request."),
            CALLS.InvalidArgument('The value of property "body" is longer than 1048487 bytes.'),
            CALLS.InvalidArgument("Transaction too big. Decrease transaction size."),
            CALLS.ResourceExhausted("Received message larger than max (20971521 vs. 20971520)"),
        ],
    )
    def test_what_is_too_large_is_said_in_words(self, error: Exception) -> None:
        with pytest.raises(TooLargeError), translated("publishing"):
            raise error

    def test_what_pubsub_finds_too_large(self, messaging: Messaging, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("settled_gcp.queue.LARGEST", 11_000_000)
        with pytest.raises(TooLargeError, match="too large"):
            messaging.queue().send([message(ADA, "1", "x" * 10_000_000)])


class TestCredentials:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (CREDENTIALS.DefaultCredentialsError("Your default credentials were not found."), AccessDeniedError),
            (CREDENTIALS.RefreshError("invalid_grant: Bad Request"), AccessDeniedError),
            (CREDENTIALS.TransportError("no route to metadata.google.internal"), UnavailableError),
        ],
    )
    def test_they_are_missing_or_cannot_be_asked_for(self, error: Any, kind: type[SettledError]) -> None:
        with pytest.raises(kind, match="opening"), translated("opening"):
            raise error


class TestOtherErrors:
    def test_what_is_not_googles_is_left_as_it_is(self) -> None:
        with pytest.raises(ValueError, match="mine"), translated("publishing"):
            raise ValueError("mine")
        assert status_of(ValueError("mine")) == ""


class TestTheWire:
    def test_nobody_listens_so_nothing_happened(self) -> None:
        with at(f"127.0.0.1:{free_port()}") as queue:
            with pytest.raises(UnavailableError, match="nobody answered"):
                queue.send([message(ADA, "1")])
            with pytest.raises(UnavailableError):
                queue.receive(1)

    def test_a_connection_that_broke_leaves_open_whether_it_happened(self) -> None:
        with hanging_up() as address, at(address) as queue, pytest.raises(OutcomeUnknownError):
            queue.send([message(ADA, "1")])

    def test_a_lost_answer_to_an_acknowledgement_may_be_repeated(self, messaging: Messaging) -> None:
        queue = messaging.queue()
        queue.send([message(ADA, "1"), message(ADA, "2")])
        held = queue.receive(10)
        messaging.server.fail("Acknowledge", "UNAVAILABLE", done=True)
        with pytest.raises(OutcomeUnknownError):
            queue.ack(held[:1])
        queue.ack(held[:1])
        queue.release(held[1:])
        assert ids(queue.receive(10)) == ["2"]


@frozen
class Refusing:
    """A subscriber whose every call comes to `error`."""

    error: Exception

    def __getattr__(self, name: str) -> Any:
        def refuse(**_: Any) -> None:
            raise self.error

        return refuse


@contextmanager
def at(address: str) -> Generator[PubSubQueue]:
    publisher, subscriber = (client_of(service, emulator=address) for service in (PUBLISHER, SUBSCRIBER))
    yield PubSubQueue(publisher, subscriber, "projects/p/topics/t", "projects/p/subscriptions/s")
    publisher.transport.close()
    subscriber.transport.close()


@contextmanager
def hanging_up() -> Generator[str]:
    """Somebody who speaks enough HTTP/2 to be sent a request, and then breaks off."""
    settings = b"\0\0\0\4\0\0\0\0\0"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(settings)
                    heard = b""
                    while b"/google.pubsub.v1.Publisher/Publish" not in heard and b"signup" not in heard:
                        more = connection.recv(65536)
                        if not more:
                            break
                        heard += more

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
