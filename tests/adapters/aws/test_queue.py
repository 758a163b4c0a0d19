"""The queue on ministack, by the real client."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from settled import ConflictError, EventError, Key, TooLargeError
from settled.data import parse, write
from settled.durable import Delivery, Message, Position
from settled.durable.limits import MAX_CHILD_NAME_BYTES, MAX_ID_BYTES, MAX_NAME_BYTES
from settled.durable.malformed import is_malformed
from settled_aws import Addresses, AwsUrl, SqsFifoQueue
from settled_aws.clock import RESOLUTION
from settled_aws.envelope import from_text, largest_text, size, to_text
from settled_aws.names import epoch, group_id
from settled_aws.queue import MAX_REQUEST_BYTES, Numbering, SendEntry, in_batches
from settled_aws.url import MAX_LARGEST_MESSAGE
from settled_runtime import CompositeBackend
from tests.adapters.aws.fixtures import LEASE, Cloud, add_dead_letter_queue, backend, texts_in
from tests.adapters.aws.harness import AwsHarness
from tests.support.builders import ADA, BEN, CEM, dead_letter, fresh_name, ids, message, stored, timer


class TestOrder:
    def test_messages_of_a_key_are_received_in_the_order_they_were_sent(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, id) for id in "1234"])
        assert ids(aws.queue.receive(10)) == ["1", "2", "3", "4"]

    def test_a_key_that_is_held_does_not_hold_up_another(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1"), message(ADA, "2")])
        assert ids(aws.queue.receive(1)) == ["1"]
        aws.queue.send([message(BEN, "3")])
        assert ids(aws.queue.receive(10, 1.0)) == ["3"]

    def test_more_than_ten_are_not_received_at_once(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(Key("m", f"{number}"), "1") for number in range(12)])
        assert len(aws.queue.receive(32)) == 10
        assert len(aws.queue.receive(32)) == 2
        assert aws.queue.receive(0) == ()

    @pytest.mark.parametrize("text", ["", "\0 \x7f \ufffe \ufeff", '{"name":"\ud83d"}', "e\u0301 é 🙂", "<&]]>"])
    def test_odd_texts_and_keys_come_back(self, aws: CompositeBackend, text: str) -> None:
        sent = message(Key(f"m/{text}", f"i{text}/{'x' * 200}"), f"i{text}", text)
        aws.queue.send([sent])
        (delivery,) = aws.queue.receive(1)
        assert delivery.message == sent

    def test_a_repeated_id_is_dropped_and_keeps_its_position(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1"), message(ADA, "2"), message(ADA, "1"), message(BEN, "1")])
        held = aws.queue.receive(10)
        assert [each.message.id for each in held if each.message.key == ADA] == ["1", "2"]
        assert [each.message.id for each in held if each.message.key == BEN] == ["1"]
        aws.queue.ack(held)
        aws.queue.send([message(ADA, "1")])
        assert aws.queue.receive(10) == []

    def test_a_known_id_with_another_body_is_not_dropped(self, aws: CompositeBackend) -> None:
        sent = [message(ADA, id, body) for id, body in (("1", "2"), ("1", "2 3"), ("1", "2"), ("1 2", "3"))]
        aws.queue.send(sent)
        assert [each.message for each in aws.queue.receive(10)] == [sent[0], sent[1], sent[3]]


class TestPosition:
    """Sequence numbers grow within a group and stay with their messages; ministack keeps to what AWS documents."""

    def test_later_messages_have_higher_numbers_however_they_are_sent(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1"), message(BEN, "x"), message(ADA, "2")])
        aws.timers.schedule(timer("3", time.time() - 5.0))
        numbers = [number for key, number in positions(aws.queue.receive(10)) if key == ADA]
        assert len(numbers) == 3
        assert numbers == sorted(set(numbers))

    def test_a_message_keeps_its_number_in_each_delivery(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1"), message(ADA, "2")])
        held = aws.queue.receive(10)
        aws.queue.release(held)
        assert positions(aws.queue.receive(10)) == positions(held)

    def test_numbers_continue_after_the_queue_was_empty_and_for_another_process(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses, aws: CompositeBackend
    ) -> None:
        positions = list[Position]()
        for id, handle in (("1", aws), ("2", backend(cloud, url, addresses)), ("3", aws)):
            handle.queue.send([message(ADA, id)])
            (held,) = handle.queue.receive(10)
            assert held.position is not None
            positions.append(held.position)
            handle.queue.ack([held])
            assert handle.queue.receive(10) == []
        assert len({position.epoch for position in positions}) == 1
        assert [position.number for position in positions] == sorted({position.number for position in positions})

    @pytest.mark.parametrize("lives_through_it", [False, True])
    def test_a_queue_that_is_made_again_has_another_epoch(
        self, harness: AwsHarness, lives_through_it: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("settled_aws.queue.NUMBERING_MAX_AGE", 0.0)
        epochs, sqs = list[str](), harness.cloud.sqs
        aws = harness.fresh()
        for _ in range(2):
            aws.queue.send([message(ADA, "1")])
            (held,) = aws.queue.receive(1)
            assert held.position is not None
            epochs.append(held.position.epoch)
            queue = sqs.get_queue_url(QueueName=harness.url.queue)["QueueUrl"]
            attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["FifoQueue"])["Attributes"]
            sqs.delete_queue(QueueUrl=queue)
            harness.advance(60.0)  # AWS allows a deleted name again after 60 seconds
            sqs.create_queue(QueueName=harness.url.queue, Attributes=attributes)
            if not lives_through_it:
                aws = harness.open()
        assert len(set(epochs)) == 2
        assert max(map(len, epochs)) <= 12

    def test_two_queues_have_two_epochs(self) -> None:
        at = "1800000000"
        assert len({epoch("arn:aws:sqs:x:1:a.fifo", at), epoch("arn:aws:sqs:x:1:b.fifo", at)}) == 2

    def test_a_message_without_a_number_has_no_position(self) -> None:
        assert Numbering("arn:aws:sqs:x:1:q.fifo", "e").position({"ApproximateReceiveCount": "1"}) is None

    def test_a_sequence_number_may_exceed_64_bits(self) -> None:
        attributes = {"SequenceNumber": "18849496460467696128"}
        assert Numbering("q", "e").position(attributes) == Position("e", 18_849_496_460_467_696_128)

    def test_the_numbering_is_asked_for_once(self, cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
        counted = Counter[str]()
        queue = backend(cloud.watched(lambda name: counted.update([name])), url, addresses).queue
        for _ in range(3):
            queue.receive(1)
        queue.send([message(ADA, "1")])
        assert counted["get_queue_attributes"] == 1

    def test_sending_alone_does_not_ask_for_the_numbering(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses
    ) -> None:
        counted = Counter[str]()
        backend(cloud.watched(lambda name: counted.update([name])), url, addresses).queue.send([message(ADA, "1")])
        assert counted == {"send_message_batch": 1}


def positions(deliveries: Sequence[Delivery]) -> list[tuple[Key, int]]:
    return [(each.message.key, each.position.number) for each in deliveries if each.position is not None]


class TestLease:
    def test_a_message_whose_lease_ended_is_delivered_with_the_next_attempt(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1")])
        (first,) = aws.queue.receive(1)
        assert first.attempt == 1
        assert LEASE - RESOLUTION.total_seconds() - 0.5 < first.lease_until - time.time() <= LEASE
        assert aws.queue.receive(1) == []
        (second,) = aws.queue.receive(1, LEASE + 1.0)
        assert (second.message, second.attempt) == (first.message, 2)

    def test_a_released_message_is_delivered_at_once_or_after_its_delay(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1"), message(ADA, "2")])
        aws.queue.release(aws.queue.receive(10))
        held = aws.queue.receive(10)
        assert ids(held) == ["1", "2"]
        aws.queue.release(held, 0.4)
        assert aws.queue.receive(10) == []
        assert ids(aws.queue.receive(10, 2.0)) == ["1", "2"]

    def test_a_delay_longer_than_sqs_allows_is_shortened(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1")])
        aws.queue.release(aws.queue.receive(1), 90 * 24 * 60 * 60.0)
        assert aws.queue.receive(1) == []

    def test_a_lease_is_extended(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1")])
        aws.queue.extend(aws.queue.receive(1), LEASE + 2.0)
        assert aws.queue.receive(1, LEASE + 1.0) == []

    def test_part_is_acknowledged_and_the_rest_is_delivered_again(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, id) for id in "123"])
        held = aws.queue.receive(10)
        aws.queue.ack(held[:1])
        assert aws.queue.receive(10) == []
        aws.queue.release(held[1:])
        assert ids(aws.queue.receive(10)) == ["2", "3"]

    def test_extending_what_was_acknowledged_says_that_the_lease_is_lost(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1")])
        held = aws.queue.receive(1)
        aws.queue.ack(held)
        with pytest.raises(ConflictError, match="the lease of 1 was lost"):
            aws.queue.extend(held, 5.0)
        aws.queue.ack(held)
        aws.queue.release(held)


class TestSize:
    def test_a_message_of_the_largest_size_is_sent(self, cloud: Cloud, addresses: Addresses) -> None:
        queue, body = SqsFifoQueue(cloud.sqs, addresses.queue), "x" * (MAX_REQUEST_BYTES - 100)
        queue.send([message(ADA, "1", body), message(BEN, "2", body)])
        bodies = [len(each.message.body) for each in (*queue.receive(1), *queue.receive(1))]
        assert bodies == [len(body)] * 2

    def test_the_largest_message_fits_into_a_dead_letter(self, url: AwsUrl, aws: CompositeBackend) -> None:
        body = "x" * (url.largest_message - 100)
        aws.queue.send([message(ADA, "1", body)])
        aws.store.commit(ADA, stored(1), 0, [evolve(dead_letter(ADA, "1", body), detail="x" * 10_000)])
        assert len(aws.store.dead_letters(ADA)) == 1

    def test_if_one_message_is_too_large_none_is_sent(self, aws: CompositeBackend) -> None:
        with pytest.raises(
            TooLargeError, match=r"signup/ben: the message 2 has 1,048,6\d\d bytes; the limit of SQS is 1,048,576"
        ):
            aws.queue.send([message(ADA, "1"), message(BEN, "2", "x" * MAX_REQUEST_BYTES), message(CEM, "3")])
        assert aws.queue.receive(10) == []

    @given(st.text(st.characters(exclude_categories=())))
    @example("\x7f" * 100_000)
    @example('"' * 100_000)
    def test_a_body_is_sent_as_twice_its_size_at_most(self, text: str) -> None:
        body = write({"type": "SAY", "text": text})
        longest = Key('"' * MAX_NAME_BYTES, '"' * MAX_CHILD_NAME_BYTES)
        headers = {f"{number}": '"' * 1000 for number in range(4)}
        text = to_text(Message(longest, "\0" * MAX_ID_BYTES, body, headers))
        assert size(text) <= largest_text(len(body.encode("utf-8", "surrogatepass")))

    def test_the_highest_limit_on_messages_is_one_that_sqs_takes(self) -> None:
        assert largest_text(MAX_LARGEST_MESSAGE) == MAX_REQUEST_BYTES


class TestBatches:
    def test_a_request_has_one_message_of_a_group_and_ten_messages_at_most(self) -> None:
        entries = [SendEntry(group, "", id, 1) for group, id in ("a1", "a2", "b1", "a3", "b2")]
        batches = [[entry.group + entry.text for entry in batch] for batch in in_batches(entries)]
        assert batches == [["a1", "b1"], ["a2", "b2"], ["a3"]]
        many = [SendEntry(f"{number}", "", "", 1) for number in range(23)]
        assert [len(batch) for batch in in_batches(many)] == [10, 10, 3]

    def test_messages_too_large_together_take_several_requests(self) -> None:
        entries = [SendEntry(f"{number}", "", "", MAX_REQUEST_BYTES // 2) for number in range(5)]
        assert [len(batch) for batch in in_batches(entries)] == [2, 2, 1]


LONG = Key("m", "x" * 200)
"""A key whose group is a hash."""


class TestWhatIsNotSettleds:
    """Anyone with access to the queue can send anything to it."""

    @pytest.mark.parametrize("body", ["hello", "{}", "[" * 100_000, '{"kind":"wake"}', "e\u0301 é 🙂"])
    def test_is_a_malformed_message_of_the_instance_whose_group_it_is_in(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses, body: str
    ) -> None:
        aws.queue.send([message(ADA, "1")])
        send_raw(cloud, addresses.queue, "signup/ada", body)
        aws.queue.send([message(ADA, "2")])
        before, malformed, after = aws.queue.receive(10)
        assert (before.message, after.message) == (message(ADA, "1"), message(ADA, "2"))
        assert malformed.message.key == ADA and is_malformed(malformed.message)
        assert parse(malformed.message.body)["text"] == body
        assert malformed.position is not None

    def test_has_the_same_id_in_each_delivery(self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses) -> None:
        send_raw(cloud, addresses.queue, "signup/ada", "hello")
        first = aws.queue.receive(10)
        aws.queue.release(first)
        assert ids(aws.queue.receive(10)) == ids(first)

    def test_includes_a_message_in_the_group_of_another_key(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses
    ) -> None:
        send_raw(cloud, addresses.queue, "signup/ben", to_text(message(ADA, "1")))
        (delivery,) = aws.queue.receive(10)
        assert delivery.message.key == BEN
        assert is_malformed(delivery.message)

    @pytest.mark.parametrize("group", ["x", "/x", "x/", group_id(LONG)])
    def test_is_moved_to_the_dead_letter_queue_if_its_group_names_no_instance(
        self,
        cloud: Cloud,
        aws: CompositeBackend,
        addresses: Addresses,
        group: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        dead = add_dead_letter_queue(cloud, addresses.queue)
        send_raw(cloud, addresses.queue, group, "hello")
        aws.queue.send([message(LONG, "1"), message(ADA, "1")])
        assert {each.message for each in aws.queue.receive(10)} == {message(LONG, "1"), message(ADA, "1")}
        assert texts_in(cloud, dead) == [(group, "hello")]
        assert "is not settled's and names no instance; it was moved to" in caplog.text
        assert "hello" not in caplog.text
        time.sleep(LEASE + 0.5)
        assert len(aws.queue.receive(10)) == 2, "all but what was moved is delivered again"

    def test_stays_with_what_follows_in_its_group_if_there_is_no_dead_letter_queue(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses, caplog: pytest.LogCaptureFixture
    ) -> None:
        aws.queue.send([message(LONG, "1")])
        send_raw(cloud, addresses.queue, group_id(LONG), "hello")
        aws.queue.send([message(LONG, "2"), message(ADA, "1")])
        assert {each.message for each in aws.queue.receive(10)} == {message(LONG, "1"), message(ADA, "1")}
        assert "it stays, because there is no dead-letter queue" in caplog.text

    def test_stays_if_it_cannot_be_moved(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.sqs.delete_queue(QueueUrl=add_dead_letter_queue(cloud, addresses.queue))
        send_raw(cloud, addresses.queue, "x", "hello")
        assert aws.queue.receive(10) == []
        assert "it could not be moved to the dead-letter queue" in caplog.text


def send_raw(cloud: Cloud, queue: str, group: str, body: str) -> None:
    cloud.sqs.send_message(QueueUrl=queue, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=fresh_name())


def test_the_lease_is_that_of_the_url(url: AwsUrl, aws: CompositeBackend) -> None:
    assert (aws.lease, url.lease) == (timedelta(seconds=LEASE),) * 2


class TestHeaders:
    """The queue accepts messages from other senders, too, so what they send is checked here."""

    def test_are_in_the_text(self) -> None:
        sent = Message(ADA, "1", "{}", {"traceparent": "00-1"})
        assert from_text(to_text(sent)) == sent

    @pytest.mark.parametrize("headers", ["null", "[1]", '{"Upper":"x"}', '{"a":1}'])
    def test_that_are_not_allowed_make_it_no_message(self, headers: str) -> None:
        with pytest.raises(EventError, match="header"):
            from_text(to_text(message(ADA, "1"))[:-1] + f',"headers":{headers}}}')
