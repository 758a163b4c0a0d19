"""Translation of Google's errors. The tests' server returns the statuses to the real clients."""

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
    CredentialsError,
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

WRITE_ERRORS: list[tuple[str, type[SettledError]]] = [
    ("ABORTED", UnavailableError),
    ("RESOURCE_EXHAUSTED", UnavailableError),
    ("PERMISSION_DENIED", AccessDeniedError),
    ("UNAUTHENTICATED", CredentialsError),
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
    @pytest.mark.parametrize(("status", "kind"), WRITE_ERRORS)
    def test_of_a_send(self, messaging: Messaging, status: str, kind: type[SettledError]) -> None:
        messaging.server.fail("Publish", status)
        with pytest.raises(kind, match=f"publishing to {messaging.topic}") as raised:
            messaging.queue().send([message(ADA, "1")])
        assert isinstance(raised.value.__cause__, GoogleAPICallError)

    @pytest.mark.parametrize("status", ["UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"])
    def test_of_a_read_are_unavailable(self, messaging: Messaging, status: str) -> None:
        messaging.server.fail("Pull", status)
        with pytest.raises(UnavailableError, match="pulling from"):
            messaging.queue().receive(1)

    def test_all_of_them_are_covered(self) -> None:
        known = {status for status, _ in WRITE_ERRORS} | {"OK", "ALREADY_EXISTS", "OUT_OF_RANGE"}
        assert known == {code.name for code in grpc.StatusCode}

    def test_a_failed_precondition_is_a_conflict_only_where_races_are(self) -> None:
        error = CALLS.from_grpc_status(grpc.StatusCode.FAILED_PRECONDITION, "the stored version does not match")
        with pytest.raises(ConflictError), translated("committing", races={"FAILED_PRECONDITION"}):
            raise error
        with pytest.raises(BackendConfigError), translated("publishing"):
            raise error

    @pytest.mark.parametrize("call", ["acknowledge", "extend"])
    def test_metadata_without_ack_ids_is_not_a_lost_lease(self, call: str) -> None:
        """Other errors have metadata, too, such as the name of a missing permission."""
        details = INFO.ErrorInfo(reason="IAM_PERMISSION_DENIED", metadata={"permission": "pubsub.topics.publish"})
        denied = CALLS.PermissionDenied("no", error_info=details)
        queue = PubSubQueue(cast("Any", None), cast("Any", Failing(denied)), "topics/t", "subscriptions/s")
        held = [Delivery(message(ADA, "1"), "receipt", 1, 0.0)]
        with pytest.raises(AccessDeniedError, match="lack the permission"):
            queue.ack(held) if call == "acknowledge" else queue.extend(held, 60.0)

    def test_a_call_is_one_request_because_retries_are_off(self, messaging: Messaging) -> None:
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
            CALLS.ResourceExhausted("gRPC message exceeds maximum size 4194304: 8001759"),
        ],
    )
    def test_sizes_are_recognised_by_the_message(self, error: Exception) -> None:
        with pytest.raises(TooLargeError), translated("publishing"):
            raise error

    def test_a_message_that_pubsub_rejects_as_too_large(
        self, messaging: Messaging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("settled_gcp.queue.MAX_REQUEST_BYTES", 11_000_000)
        with pytest.raises(TooLargeError, match="too large"):
            messaging.queue().send([message(ADA, "1", "x" * 10_000_000)])


class TestCredentials:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (CREDENTIALS.DefaultCredentialsError("Your default credentials were not found."), AccessDeniedError),
            (CREDENTIALS.RefreshError("invalid_grant: Token has been expired or revoked."), CredentialsError),
            (CREDENTIALS.TransportError("no route to metadata.google.internal"), UnavailableError),
            # What gRPC makes of the RefreshError, in a call.
            (CALLS.ServiceUnavailable("Getting metadata from plugin failed with error: expired"), CredentialsError),
        ],
    )
    def test_missing_expired_or_unreachable(self, error: Any, kind: type[SettledError]) -> None:
        with pytest.raises(kind, match="opening"), translated("opening"):
            raise error


class TestOtherErrors:
    def test_other_exceptions_are_raised_unchanged(self) -> None:
        with pytest.raises(ValueError, match="mine"), translated("publishing"):
            raise ValueError("mine")
        assert status_of(ValueError("mine")) == ""


class TestTheWire:
    def test_a_connection_that_cannot_be_made_is_unavailable(self) -> None:
        with at(f"127.0.0.1:{free_port()}") as queue:
            with pytest.raises(UnavailableError, match="there was no answer"):
                queue.send([message(ADA, "1")])
            with pytest.raises(UnavailableError):
                queue.receive(1)

    def test_a_broken_connection_is_an_unknown_outcome(self) -> None:
        with hanging_up() as address, at(address) as queue, pytest.raises(OutcomeUnknownError):
            queue.send([message(ADA, "1")])

    def test_an_acknowledgement_whose_response_was_lost_may_be_repeated(self, messaging: Messaging) -> None:
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
class Failing:
    """A subscriber whose calls all fail with `error`."""

    error: Exception

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            raise self.error

        return fail


@contextmanager
def at(address: str) -> Generator[PubSubQueue]:
    publisher, subscriber = (client_of(service, emulator=address) for service in (PUBLISHER, SUBSCRIBER))
    yield PubSubQueue(publisher, subscriber, "projects/p/topics/t", "projects/p/subscriptions/s")
    publisher.transport.close()
    subscriber.transport.close()


@contextmanager
def hanging_up() -> Generator[str]:
    """Serve an endpoint that speaks enough HTTP/2 to be sent a request, and then hangs up."""
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
                    received = b""
                    while b"/google.pubsub.v1.Publisher/Publish" not in received and b"signup" not in received:
                        more = connection.recv(65536)
                        if not more:
                            break
                        received += more

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
