"""What SQS and the Scheduler have given up comes back from their dead-letter queues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from settled import Key, assign, setup
from settled.durable import Event, Message, encode
from settled_aws.dead_letter_queues import SqsDeadLetterQueue
from settled_aws.envelope import to_text
from settled_aws.url import MAX_LARGEST_MESSAGE, AwsUrl
from settled_runtime import Client, CodedBackend, Compression, DroppedMessage, Host, recover_dropped, wake_overdue
from tests.adapters.aws.harness import AwsHarness

MINUTE, HOUR = 60.0, 3600.0

counter = setup(actions={"append": assign(seen=lambda a: [*a.context["seen"], a.event["n"]])}).machine(
    {
        "id": "counter",
        "context": {"seen": []},
        "initial": "on",
        "states": {
            "on": {"tags": ["settled"], "on": {"ADD": {"actions": "append"}}, "after": {"3600000": "off"}},
            "off": {"type": "final"},
        },
    }
)
ADA, BEN = Key("counter", "ada"), Key("counter", "ben")


class Account:
    """A backend on `harness`, a host of `counter` on it, and what the vendor does."""

    def __init__(self, harness: AwsHarness) -> None:
        self.harness, self.sqs = harness, harness.cloud.sqs
        self.backend: Any = harness.fresh()
        self.host = Host([counter], self.backend)

    def use(self, url: AwsUrl) -> None:
        """Use `url`, with the same resources."""
        self.harness.url, host = url, self.host
        host.close()
        self.backend = self.harness.open()
        self.host = Host([counter], self.backend)

    def work(self) -> None:
        while held := self.backend.queue.receive(10):
            self.host.handle(held)

    def add(self, *numbers: int, to: str = "ada", text: str = "") -> None:
        for number in numbers:
            event = {"type": "ADD", "n": number, "text": text}
            Client(counter, self.backend).send(to, event, message_id=f"add-{number}")

    def seen(self, instance: str = "ada") -> list[int]:
        snapshot = Client(counter, self.backend).get(instance)
        assert snapshot is not None
        return list(snapshot.context["seen"])

    def queue(self, name: str, **attributes: str) -> str:
        url: str = self.sqs.create_queue(QueueName=f"{self.harness.url.table}-{name}", Attributes=attributes)[
            "QueueUrl"
        ]
        return url

    def give_up(self, of: str, dead: str) -> None:
        """Have the queue at `of` move all its messages to the one at `dead`, after one receive of each."""
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.policy(of, json.dumps({"maxReceiveCount": "1", "deadLetterTargetArn": arn}))
        for _ in range(15):
            while self.sqs.receive_message(QueueUrl=of, MaxNumberOfMessages=10, VisibilityTimeout=60).get("Messages"):
                pass
            self.harness.advance(MINUTE)
        self.policy(of, json.dumps({"maxReceiveCount": "1000", "deadLetterTargetArn": arn}))

    def policy(self, of: str, text: str) -> None:
        self.sqs.set_queue_attributes(QueueUrl=of, Attributes={"RedrivePolicy": text})

    def waiting(self, url: str) -> list[str]:
        """The texts of the messages that are left in the queue at `url`, once what was received there is visible."""
        self.harness.advance(MINUTE)
        received = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [each["Body"] for each in received.get("Messages", ())]


def delete_nothing(_queue: SqsDeadLetterQueue, _messages: Sequence[DroppedMessage]) -> None:
    """Replace a deletion that a crash has prevented."""


@pytest.fixture
def account(harness: AwsHarness) -> Iterator[Account]:
    account = Account(harness)
    yield account
    account.host.close()


@pytest.fixture
def dead(account: Account) -> str:
    """The URL of a FIFO dead-letter queue."""
    return account.queue("dead.fifo", FifoQueue="true")


class TestMessages:
    def test_come_back_in_their_order_and_before_what_waits(self, account: Account, dead: str) -> None:
        for instance in ("ada", "ben"):
            Client(counter, account.backend).start(instance)
        account.work()
        account.add(*range(25))
        account.add(100, to="ben")
        account.give_up(account.harness.addresses.queue, dead)
        account.add(25, 26)
        report = recover_dropped(account.backend)
        assert [id for each in report.recovered if each.key == ADA for id in each.added] == [
            f"add-{n}" for n in range(25)
        ]
        assert [each.added for each in report.recovered if each.key == BEN] == [("add-100",)]
        assert (report.left, report.sent) == ([], [])
        account.work()
        assert (account.seen(), account.seen("ben")) == ([*range(27)], [100])
        assert account.waiting(dead) == []

    def test_that_are_too_many_or_too_large_for_one_transaction_come_back_in_several(
        self, account: Account, dead: str
    ) -> None:
        account.use(evolve(account.harness.url, largest_message=MAX_LARGEST_MESSAGE))
        Client(counter, account.backend).start("ada")
        account.work()
        account.add(*range(12), text="x" * (MAX_LARGEST_MESSAGE - 1_000))
        account.add(*range(12, 120))
        account.give_up(account.harness.addresses.queue, dead)
        report = recover_dropped(account.backend)
        assert [id for each in report.recovered for id in each.added] == [f"add-{n}" for n in range(120)]
        assert report.left == []
        account.work()
        assert account.seen() == [*range(120)]
        assert account.waiting(dead) == []

    def test_of_an_instance_with_many_dead_letters_come_back_as_many_as_can_be_put_before_those(
        self, account: Account, dead: str
    ) -> None:
        Client(counter, account.backend).start("ada")
        account.work()
        for number in range(45):
            account.backend.queue.send([Message(ADA, f"invalid-{number}", "{}")])
        account.work()
        account.add(*range(10))
        account.give_up(account.harness.addresses.queue, dead)
        report = recover_dropped(account.backend)
        assert 0 < len(report.left) < 10
        account.work()
        account.harness.advance(MINUTE)
        assert recover_dropped(account.backend).left == []
        account.work()
        assert account.seen() == [*range(10)]
        assert len(account.backend.store.dead_letters(ADA)) == 45

    @pytest.mark.parametrize("meanwhile", ["a worker", "another operator"])
    def test_come_back_once_whoever_works_meanwhile(
        self, account: Account, dead: str, meanwhile: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here it is done between the commit and the deletion, when the messages are no longer hidden."""
        Client(counter, account.backend).start("ada")
        account.work()
        account.add(*range(25))
        account.give_up(account.harness.addresses.queue, dead)
        account.add(25)
        delete = SqsDeadLetterQueue.delete

        def delete_late(queue: SqsDeadLetterQueue, messages: Sequence[DroppedMessage]) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(SqsDeadLetterQueue, "delete", delete)
                account.harness.advance(MINUTE + 1.0)
                account.work() if meanwhile == "a worker" else recover_dropped(account.backend)
            ids = [each.message.id for each in account.backend.store.dead_letters(ADA)]
            assert len(ids) == len({*ids})
            delete(queue, messages)

        monkeypatch.setattr(SqsDeadLetterQueue, "delete", delete_late)
        assert recover_dropped(account.backend).left == []
        account.work()
        monkeypatch.undo()
        account.harness.advance(MINUTE)
        assert recover_dropped(account.backend).left == []
        account.work()
        assert account.waiting(dead) == []
        assert sorted(account.seen()) == [*range(26)]
        if meanwhile != "a worker":
            assert account.seen() == [*range(26)]

    def test_that_were_committed_but_not_deleted_are_known(self, account: Account, dead: str) -> None:
        Client(counter, account.backend).start("ada")
        account.work()
        account.add(1, 2)
        account.give_up(account.harness.addresses.queue, dead)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SqsDeadLetterQueue, "delete", delete_nothing)
            recover_dropped(account.backend)
        account.work()
        account.harness.advance(MINUTE)
        (again,) = recover_dropped(account.backend).recovered
        assert (again.added, again.known) == ((), ("add-1", "add-2"))
        account.work()
        assert account.seen() == [1, 2]
        assert account.waiting(dead) == []

    def test_that_are_not_settled_s_stay_and_are_named(self, account: Account, dead: str) -> None:
        sent = {"MessageBody": "hello", "MessageGroupId": "x", "MessageDeduplicationId": "1"}
        account.sqs.send_message(QueueUrl=account.harness.addresses.queue, **sent)
        account.give_up(account.harness.addresses.queue, dead)
        (left,) = recover_dropped(account.backend).left
        assert (left.queue, left.text, left.reason) == (dead.rpartition("/")[2], "hello", "is not settled's")
        assert account.waiting(dead) == ["hello"]

    def test_of_a_record_that_cannot_be_read_stay(self, account: Account, dead: str) -> None:
        Client(counter, account.backend).start("ada")
        account.work()
        stored = account.backend.store.load(ADA)
        account.backend.store.commit(ADA, type(stored)(stored.version + 1, "{}", stored.index), stored.version)
        account.add(1)
        account.give_up(account.harness.addresses.queue, dead)
        (left,) = recover_dropped(account.backend).left
        assert "not a record of settled" in left.reason
        assert len(account.waiting(dead)) == 1

    def test_that_are_encoded_come_back_with_their_codec_only(self, account: Account, dead: str) -> None:
        backend = CodedBackend(account.backend, Compression())
        message = Message(ADA, "1", encode(Event({"type": "ADD", "text": "x" * 5_000})))
        backend.queue.send([message])
        account.give_up(account.harness.addresses.queue, dead)
        (left,) = recover_dropped(account.backend).left
        assert "give the codec" in left.reason
        account.harness.advance(MINUTE)
        (recovered,) = recover_dropped(backend).recovered
        assert recovered.added == ("1",)
        assert [each.message for each in backend.store.dead_letters(ADA)] == [message]


class TestTimers:
    def start(self, account: Account) -> str:
        """Start an instance whose timer of an hour is lost; return the text of the timer's message."""
        Client(counter, account.backend).start("ada")
        account.work()
        (schedule,) = account.harness.cloud.scheduler.list_schedules(GroupName=account.harness.url.schedules)[
            "Schedules"
        ]
        named = {"Name": schedule["Name"], "GroupName": account.harness.url.schedules}
        text: str = account.harness.cloud.scheduler.get_schedule(**named)["Target"]["Input"]
        account.harness.cloud.scheduler.delete_schedule(**named)
        account.harness.advance(2 * HOUR)
        return text

    def fired(self, account: Account) -> bool:
        account.work()
        snapshot = Client(counter, account.backend).get("ada")
        assert snapshot is not None
        return snapshot.value == "off"

    @pytest.mark.parametrize("is_request", [False, True], ids=["the input", "the request"])
    def test_that_the_scheduler_could_not_send_fire(self, account: Account, is_request: bool) -> None:
        text = self.start(account)
        body = json.dumps({"MessageBody": text, "MessageGroupId": "counter/ada"}) if is_request else text
        account.sqs.send_message(QueueUrl=account.harness.addresses.schedules_dead, MessageBody=body)
        (sent,) = recover_dropped(account.backend).sent
        assert to_text(sent) == text
        assert self.fired(account)
        assert account.waiting(account.harness.addresses.schedules_dead) == []

    def test_that_were_sent_again_already_are_stale(self, account: Account) -> None:
        text = self.start(account)
        for _ in range(2):
            assert len(wake_overdue(account.backend, timedelta(minutes=30)).overdue) == 1
        account.sqs.send_message(QueueUrl=account.harness.addresses.schedules_dead, MessageBody=text)
        assert len(recover_dropped(account.backend).sent) == 1
        assert self.fired(account)
        assert wake_overdue(account.backend, timedelta()).overdue == []
        assert Client(counter, account.backend).dead_letters("ada") == []

    def test_of_the_delay_queue_fire(self, account: Account) -> None:
        dead = account.queue("delays-dead")
        account.sqs.send_message(QueueUrl=account.harness.addresses.delays, MessageBody=self.start(account))
        account.give_up(account.harness.addresses.delays, dead)
        assert len(recover_dropped(account.backend).sent) == 1
        assert self.fired(account)


def test_queues_that_do_not_exist_are_passed_over(account: Account) -> None:
    account.sqs.delete_queue(QueueUrl=account.harness.addresses.schedules_dead)
    report = recover_dropped(account.backend)
    assert (report.recovered, report.sent, report.left) == ([], [], [])
