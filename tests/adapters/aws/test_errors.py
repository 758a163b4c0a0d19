"""Translation of AWS's errors, which botocore's Stubber makes the real clients raise."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.session import get_session
from botocore.stub import Stubber

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
from settled.durable import Delivery, Message, Timer
from settled_aws import DynamoDBStore, EventBridgeTimers, SqsFifoQueue
from settled_aws.client_protocols import DynamoDBClient, SchedulerClient, SqsClient
from settled_aws.delay_queue import DelayQueue
from settled_aws.errors import CODES, error_for_code, translated
from settled_aws.timers import ScheduleTarget
from tests.adapters.aws.fixtures import client
from tests.support.builders import ADA, BEN, CEM, dead_letter, message, stored, timer

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/signup.fifo"


@contextmanager
def stubbed(service: str) -> Generator[tuple[Any, Any]]:
    stubbed_client = client(service, "http://127.0.0.1:9")
    with Stubber(stubbed_client) as stubber:
        yield stubbed_client, stubber
    stubbed_client.close()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ConditionalCheckFailedException", 400, ConflictError),
        ("TransactionConflictException", 400, UnavailableError),
        ("ProvisionedThroughputExceededException", 400, UnavailableError),
        ("ThrottlingException", 400, UnavailableError),
        ("RequestLimitExceeded", 400, UnavailableError),
        ("AccessDeniedException", 400, AccessDeniedError),
        ("UnrecognizedClientException", 400, AccessDeniedError),
        ("ExpiredTokenException", 400, CredentialsError),
        ("ResourceNotFoundException", 400, BackendConfigError),
        ("ValidationException", 400, BackendConfigError),
        ("InternalServerError", 500, OutcomeUnknownError),
        ("ServiceUnavailable", 503, OutcomeUnknownError),
    ],
)
def test_a_commit_that_failed(code: str, status: int, kind: type[SettledError]) -> None:
    with stubbed("dynamodb") as (dynamodb, stubber):
        stubber.add_client_error("put_item", code, "so it says", http_status_code=status)
        with pytest.raises(kind, match="committing signup/ada, version 1, to signup") as raised:
            DynamoDBStore(dynamodb, "signup").commit(ADA, stored(1), 0)
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(("code", "status"), [("InternalServerError", 500), ("ThrottlingException", 400)])
def test_a_read_that_failed_can_always_be_tried_again(code: str, status: int) -> None:
    with stubbed("dynamodb") as (dynamodb, stubber):
        stubber.add_client_error("get_item", code, http_status_code=status)
        with pytest.raises(UnavailableError):
            DynamoDBStore(dynamodb, "signup").load(ADA)


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        (["ConditionalCheckFailed", "None"], ConflictError),
        (["None", "TransactionConflict"], UnavailableError),
        (["ConditionalCheckFailed", "TransactionConflict"], ConflictError),
        (["ThrottlingError", "None"], UnavailableError),
        (["None", "ValidationError"], BackendConfigError),
    ],
)
def test_a_cancelled_transaction_fails_by_the_reasons_of_its_items(
    reasons: list[str], kind: type[SettledError]
) -> None:
    with stubbed("dynamodb") as (dynamodb, stubber):
        cancelled = {"CancellationReasons": [{"Code": reason} for reason in reasons]}
        stubber.add_client_error("transact_write_items", "TransactionCanceledException", modeled_fields=cancelled)
        with pytest.raises(kind):
            DynamoDBStore(dynamodb, "signup").commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])


CALLS: dict[str, type[Any]] = {"dynamodb": DynamoDBClient, "sqs": SqsClient, "scheduler": SchedulerClient}


class TestCodes:
    @pytest.mark.parametrize("service", CALLS)
    def test_every_error_that_aws_models_for_a_request_of_ours_has_a_meaning_on_purpose(self, service: str) -> None:
        model = get_session().get_service_model(service)
        made = {name.replace("_", "") for name in [*vars(CALLS[service]), "get_queue_url"]}
        operations = [model.operation_model(name) for name in model.operation_names if name.lower() in made]
        modelled = {shape.name for operation in operations for shape in operation.error_shapes}
        assert len(modelled) > 5
        assert modelled - CODES.keys() == set()

    @pytest.mark.parametrize("service", ["KMS.", "Kms"])
    def test_of_kms(self, service: str) -> None:
        """SQS answers both: the second by its JSON protocol's name, which botocore replaces by the first."""
        suffix = "Exception" if service == "KMS." else ""
        throttled = "KMS.ThrottlingException" if suffix else "KmsThrottled"
        assert isinstance(error_for_code(throttled, "", "", True), UnavailableError)
        assert isinstance(error_for_code(f"{service}AccessDenied{suffix}", "", "", False), AccessDeniedError)
        for name in (
            f"Disabled{suffix}",
            f"InvalidState{suffix}",
            f"NotFound{suffix}",
            "InvalidKeyUsage",
            "OptInRequired",
        ):
            refused = error_for_code(f"{service}{name}", "", "", True)
            assert isinstance(refused, BackendConfigError)
            assert "key" in str(refused)

    def test_of_sqs_before_it_spoke_json(self) -> None:
        for code in ("AWS.SimpleQueueService.NonExistentQueue", "AWS.SimpleQueueService.OverLimit"):
            assert code.rpartition(".")[2] in CODES
            assert not isinstance(error_for_code(code, "", "", True), OutcomeUnknownError)


class TestCredentials:
    """Expired ones are mended while a worker goes on; wrong ones are not."""

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (NoCredentialsError(), AccessDeniedError),
            (NoRegionError(), BackendConfigError),
            (CredentialRetrievalError(provider="custom-process", error_msg="exit 1"), CredentialsError),
            (TokenRetrievalError(provider="sso", error_msg="expired"), CredentialsError),
            (UnauthorizedSSOTokenError(), CredentialsError),
        ],
    )
    def test_that_are_not_found_or_not_refreshed(self, error: Exception, kind: type[SettledError]) -> None:
        with pytest.raises(kind, match="sending"), translated("sending"):
            raise error

    @pytest.mark.parametrize(
        ("code", "kind"), [("IDPCommunicationError", CredentialsError), ("AccessDenied", AccessDeniedError)]
    )
    def test_whose_role_cannot_be_assumed(self, code: str, kind: type[SettledError]) -> None:
        """botocore assumes it within the call of another service, which was not made then: nothing happened."""
        response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 500}}
        error = ClientError(response, "AssumeRoleWithWebIdentity")
        with pytest.raises(kind, match="sending"), translated("sending"):
            raise error

    def test_that_were_refreshed_with_expired_ones(self) -> None:
        yesterday = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": "2020-01-01T00:00:00Z"}
        credentials = RefreshableCredentials.create_from_metadata(yesterday, lambda: yesterday, "custom-process")
        with pytest.raises(CredentialsError, match="expired"), translated("sending"):
            credentials.get_frozen_credentials()

    def test_other_errors_of_the_runtime_are_raised_unchanged(self) -> None:
        with pytest.raises(RuntimeError, match="mine"), translated("sending"):
            raise RuntimeError("mine")


@pytest.mark.parametrize(
    "text",
    [
        "Item size has exceeded the maximum allowed size",
        "Transaction payload size cannot exceed 4MB. Payload Size: 4560170",
        "1 validation error detected: Value '[...]' at 'transactItems' failed to satisfy constraint: "
        "Member must have length less than or equal to 100",
    ],
    ids=["item", "transaction", "items"],
)
def test_what_dynamodb_finds_too_large(text: str) -> None:
    with stubbed("dynamodb") as (dynamodb, stubber):
        stubber.add_client_error("transact_write_items", "ValidationException", text)
        with pytest.raises(TooLargeError, match=re.escape(text)):
            DynamoDBStore(dynamodb, "signup").commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])


class TestReceipts:
    """Expired receipt handles, as AWS documents them; in ministack they still work on a FIFO queue."""

    EXPIRED = (
        "InvalidParameterValue",
        "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )

    def test_acknowledging_by_an_expired_receipt_has_no_effect_and_is_no_error(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("delete_message_batch", failed(0, *self.EXPIRED, succeeded=[1]))
            SqsFifoQueue(sqs, URL).ack(deliveries("1", "2"))

    def test_releasing_by_an_expired_receipt_has_no_effect_and_is_no_error(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("change_message_visibility_batch", failed(0, *self.EXPIRED))
            SqsFifoQueue(sqs, URL).release(deliveries("1"))

    @pytest.mark.parametrize("code", ["InvalidParameterValue", "ReceiptHandleIsInvalid", "MessageNotInflight"])
    @pytest.mark.parametrize("prefix", ["", "AWS.SimpleQueueService."])
    def test_extending_an_expired_receipt_is_a_conflict_and_the_others_are_extended(
        self, code: str, prefix: str
    ) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("change_message_visibility_batch", failed(1, prefix + code, "", succeeded=[0]))
            with pytest.raises(ConflictError, match="the lease of 2 was lost"):
                SqsFifoQueue(sqs, URL).extend(deliveries("1", "2"), 30.0)

    def test_a_failure_of_sqs_is_not_mistaken_for_a_lost_lease(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("delete_message_batch", failed(0, "InternalError", "again", sender=False))
            with pytest.raises(OutcomeUnknownError, match="deleting from"):
                SqsFifoQueue(sqs, URL).ack(deliveries("1"))


class TestSchedules:
    """Races that ministack, which handles one request at a time, never shows."""

    def test_a_schedule_that_fires_while_it_is_replaced_is_created_again(self) -> None:
        with stubbed("scheduler") as (scheduler, stubber):
            stubber.add_client_error("create_schedule", "ConflictException")
            stubber.add_client_error("update_schedule", "ResourceNotFoundException")
            stubber.add_response("create_schedule", {"ScheduleArn": "arn:aws:scheduler:::schedule/g/t"})
            long_timers(scheduler).schedule(timer("t", 10_000.0))
            stubber.assert_no_pending_responses()

    @pytest.mark.parametrize("call", ["schedule", "cancel"])
    def test_a_concurrent_change_of_a_schedule_is_unavailable(self, call: str) -> None:
        with stubbed("scheduler") as (scheduler, stubber):
            stubber.add_client_error(
                "create_schedule" if call == "schedule" else "delete_schedule", "ConflictException"
            )
            stubber.add_client_error("update_schedule", "ConflictException")
            with pytest.raises(UnavailableError, match="another request is changing it"):
                if call == "schedule":
                    long_timers(scheduler).schedule(timer("t", 10_000.0))
                else:
                    long_timers(scheduler).cancel("t")

    def test_a_message_too_large_for_a_schedule_fails_without_a_request(self) -> None:
        with (
            stubbed("scheduler") as (scheduler, _),
            pytest.raises(TooLargeError, match=r"the timer t has 262,1\d\d bytes"),
        ):
            long_timers(scheduler).schedule(Timer("t", message(ADA, "t", "x" * 262_140), 10_000.0))


def long_timers(scheduler: Any) -> EventBridgeTimers:
    """Timers whose clock stands at the epoch."""
    sqs = "arn:aws:sqs:eu-central-1:123456789012"
    target = ScheduleTarget("g", f"{sqs}:q.fifo", "arn:aws:iam::123456789012:role/r", f"{sqs}:d")
    delays = DelayQueue(None, "no short waits")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return EventBridgeTimers(lambda: scheduler, target, delays, lambda _: None, lambda: 0.0)


class TestPauses:
    """SQS rejects a visibility timeout that would end more than 12 hours after the message was received."""

    @pytest.mark.parametrize(("held", "delay", "timeout"), [(0, 29.2, 30), (0, 1e6, 43_140), (600, 1e6, 42_540)])
    def test_a_release_delay_is_cut_to_that_limit(self, held: float, delay: float, timeout: int) -> None:
        entry = {"Id": "0", "ReceiptHandle": "AQEB1", "VisibilityTimeout": timeout}
        with stubbed("sqs") as (sqs, stubber):
            expected = {"QueueUrl": URL, "Entries": [entry]}
            stubber.add_response("change_message_visibility_batch", failed(None, succeeded=[0]), expected)
            held_since = [evolve(each, lease_until=30.0) for each in deliveries("1")]
            SqsFifoQueue(sqs, URL, lease=timedelta(seconds=30), clock=lambda: held).release(held_since, delay)


class TestPartlySent:
    def test_a_partly_failed_request_is_an_unknown_outcome(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("send_message_batch", failed(1, "InternalError", "", sender=False, sent=[0]))
            with pytest.raises(OutcomeUnknownError, match="1 of 2 messages were not sent"):
                SqsFifoQueue(sqs, URL).send([message(ADA, "1"), message(BEN, "2")])

    def test_a_wholly_failed_request_is_unavailable(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("send_message_batch", failed(0, "RequestThrottled", "slowly"))
            with pytest.raises(UnavailableError, match="slowly"):
                SqsFifoQueue(sqs, URL).send([message(ADA, "1")])

    def test_a_failure_after_a_sent_request_is_an_unknown_outcome(self) -> None:
        with stubbed("sqs") as (sqs, stubber):
            stubber.add_response("send_message_batch", failed(None, sent=[0, 1]))
            stubber.add_client_error("send_message_batch", "RequestThrottled")
            with pytest.raises(OutcomeUnknownError, match="1 of 2 requests were answered"):
                SqsFifoQueue(sqs, URL).send([message(ADA, "1"), message(CEM, "2"), message(ADA, "3")])


class TestTheWire:
    def test_a_connection_that_cannot_be_made_is_unavailable(self) -> None:
        with pytest.raises(UnavailableError, match="there was no answer"):
            SqsFifoQueue(client("sqs", "http://127.0.0.1:9"), URL).send([message(ADA, "1")])

    def test_a_lost_response_is_an_unknown_outcome_for_a_write_only(self) -> None:
        with hanging_up() as endpoint:
            with pytest.raises(OutcomeUnknownError, match="the answer was lost"):
                DynamoDBStore(client("dynamodb", endpoint), "t").commit(ADA, stored(1), 0)
            with pytest.raises(UnavailableError, match="the answer was lost"):
                DynamoDBStore(client("dynamodb", endpoint), "t").load(ADA)

    def test_a_call_is_one_request_because_botocores_retries_are_off(self) -> None:
        with hanging_up() as endpoint, pytest.raises(OutcomeUnknownError):
            SqsFifoQueue(client("sqs", endpoint), URL).send([message(ADA, "1")])
        assert hung_up == [1]


hung_up: list[int] = []


@contextmanager
def hanging_up() -> Generator[str]:
    """Serve an endpoint that reads each request and hangs up without a response."""
    hung_up[:] = [0]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(65536):
                        hung_up[0] += 1

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def failed(
    number: int | None,
    code: str = "",
    text: str = "",
    succeeded: Sequence[int] = (),
    sender: bool = True,
    sent: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the response to a batch request of which the entry `number` failed."""
    one = {"Id": f"{number}", "SenderFault": sender, "Code": code, "Message": text}
    done = [{"Id": f"{each}"} for each in succeeded]
    done += [{"Id": f"{each}", "MessageId": "m", "MD5OfMessageBody": "5"} for each in sent]
    return {"Successful": done, "Failed": [] if number is None else [one]}


def deliveries(*ids: str) -> list[Delivery]:
    return [Delivery(Message(ADA, id, "{}"), f"AQEB{id}", 1, 0.0) for id in ids]
