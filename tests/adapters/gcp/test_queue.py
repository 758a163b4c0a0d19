"""The queue on the tests' Pub/Sub, by the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from settled import ConflictError, EventError, Key, OutcomeUnknownError, TooLargeError, UnavailableError
from settled.durable import Delivery, Message, Timer
from settled.durable.malformed import is_malformed
from settled_gcp.envelope import decode_received, from_text, timer_to_text, to_text
from settled_gcp.names import MAX_ORDERING_KEY_BYTES, ordering_key
from settled_gcp.queue import MAX_BATCH_SIZE, MAX_REQUEST_BYTES, PUSH_RECEIPT, PublishEntry, PubSubQueue, in_batches
from tests.adapters.gcp.fixtures import LEASE
from tests.adapters.gcp.messaging import Messaging
from tests.emulators.pubsub import GoogleServer
from tests.support.builders import ADA, BEN, ids, message, timer, watched


@pytest.fixture
def queue(messaging: Messaging) -> PubSubQueue:
    """A queue whose subscription has exactly-once delivery."""
    return messaging.queue()


@pytest.fixture
def plain(google: GoogleServer) -> Iterator[Messaging]:
    """A subscription without exactly-once delivery, which redelivers acknowledged messages wherever Pub/Sub may."""
    messaging = Messaging.at(google)
    google.repeat_acked(True)
    messaging.create()
    google.repeat_acked(False)
    yield messaging
    messaging.close()


class TestOrder:
    def test_messages_of_a_key_are_received_in_the_order_they_were_sent(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, "1"), message(BEN, "x"), message(ADA, "2")])
        queue.send([message(ADA, "3")])
        held = queue.receive(10)
        assert ids(each for each in held if each.message.key == ADA) == ["1", "2", "3"]
        assert ids(each for each in held if each.message.key == BEN) == ["x"]

    def test_messages_of_a_key_are_held_together_and_block_no_other_key(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, id) for id in "1234"])
        first, second = queue.receive(2)
        queue.send([message(BEN, "x")])
        assert ids(queue.receive(10)) == ["x"]
        queue.ack([first])
        assert ids(queue.receive(10)) == []
        queue.ack([second])
        assert ids(queue.receive(10)) == ["3", "4"]

    def test_released_messages_are_redelivered_before_later_ones(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, id) for id in "123"])
        first, *others = queue.receive(10)
        queue.ack([first])
        queue.release(others)
        queue.send([message(ADA, "4")])
        assert ids(queue.receive(10)) == ["2", "3", "4"]

    def test_a_limit_of_zero_receives_nothing(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, "1")])
        assert ids(queue.receive(0)) == []
        assert ids(queue.receive(1)) == ["1"]

    @pytest.mark.parametrize("text", ["", "\0 \x7f \ufffe \ufeff", '{"name":"\ud83d"}', "e\u0301 é 🙂", "<&]]>"])
    def test_odd_texts_and_keys_round_trip(self, queue: PubSubQueue, text: str) -> None:
        sent = message(Key(f"m/{text}", f"i{text}/{'x' * 2000}"), f"i{text}", text)
        queue.send([sent])
        (delivery,) = queue.receive(1)
        assert delivery.message == sent


class TestLease:
    def test_messages_are_redelivered_when_their_leases_end(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, "1"), message(ADA, "2")])
        (first,) = queue.receive(1)
        assert abs(first.lease_until - LEASE - messaging.server.now()) < 1.0
        messaging.server.advance(LEASE)
        assert ids(queue.receive(10)) == ["1", "2"]

    @pytest.mark.parametrize(("delay", "comes_after"), [(0.0, 0), (0.5, 1), (30.0, 30), (3600.0, 600)])
    def test_released_messages_are_redelivered_after_the_delay_and_after_ten_minutes_at_most(
        self, queue: PubSubQueue, messaging: Messaging, delay: float, comes_after: int
    ) -> None:
        queue.send([message(ADA, "1"), message(ADA, "2")])
        queue.release(queue.receive(10), delay)
        if comes_after:
            messaging.server.advance(comes_after - 0.5)
            assert ids(queue.receive(10)) == []
            messaging.server.advance(0.5)
        assert ids(queue.receive(10)) == ["1", "2"]

    def test_an_extended_lease_has_the_given_length(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, "1")])
        held = queue.receive(1)
        queue.extend(held, 60.0)
        messaging.server.advance(59)
        assert ids(queue.receive(1)) == []
        messaging.server.advance(1)
        assert ids(queue.receive(1)) == ["1"]

    def test_a_lease_is_cut_to_ten_minutes(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, "1")])
        queue.extend(queue.receive(1), 3600.0)
        messaging.server.advance(601)
        assert ids(queue.receive(1)) == ["1"]


class TestExactlyOnce:
    """Lost leases, as a subscription with exactly-once delivery reports them."""

    def expired_and_current(self, queue: PubSubQueue, messaging: Messaging) -> tuple[Delivery, Delivery]:
        """Return a delivery whose lease has ended, and the current delivery of the same message."""
        queue.send([message(ADA, "1"), message(ADA, "2")])
        (old,) = queue.receive(1)
        messaging.server.advance(LEASE)
        (new,) = queue.receive(1)
        return old, new

    def test_extending_a_lost_lease_is_a_conflict_and_the_others_are_extended(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        old, new = self.expired_and_current(queue, messaging)
        with pytest.raises(ConflictError, match="the lease of 1 was lost"):
            queue.extend([old, new], 60.0)
        messaging.server.advance(59)
        assert ids(queue.receive(1)) == []

    def test_a_lease_that_has_ended_is_lost_even_without_a_redelivery(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        queue.send([message(ADA, "1")])
        held = queue.receive(1)
        messaging.server.advance(LEASE - 1)
        queue.extend(held, LEASE)
        messaging.server.advance(LEASE)
        for _ in range(2):
            with pytest.raises(ConflictError, match="the lease of 1 was lost"):
                queue.extend(held, LEASE)
        assert ids(queue.receive(1)) == ["1"]

    @pytest.mark.parametrize("end", [PubSubQueue.ack, PubSubQueue.release])
    def test_so_is_the_lease_of_an_acknowledged_or_released_message(
        self, queue: PubSubQueue, end: Callable[[PubSubQueue, Sequence[Delivery]], None]
    ) -> None:
        queue.send([message(ADA, "1"), message(ADA, "2")])
        first, second = queue.receive(2)
        end(queue, [first])
        with pytest.raises(ConflictError, match="the lease of 1"):
            queue.extend([first, second], LEASE)

    def test_lost_leases_are_reported_from_any_batch(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, f"{number}") for number in range(MAX_BATCH_SIZE)])
        old = queue.receive(MAX_BATCH_SIZE)
        messaging.server.advance(LEASE)
        new = queue.receive(MAX_BATCH_SIZE)
        queue.extend(new, LEASE)
        with pytest.raises(ConflictError, match="the lease of 7 was lost"):
            queue.extend([*new, old[7]], LEASE)

    def test_an_extension_whose_response_was_lost_may_be_repeated(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        queue.send([message(ADA, "1")])
        held = queue.receive(1)
        messaging.server.fail("ModifyAckDeadline", "UNAVAILABLE", done=True)
        with pytest.raises(UnavailableError, match="extending in"):
            queue.extend(held, 60.0)
        queue.extend(held, 60.0)
        messaging.server.advance(LEASE)
        assert ids(queue.receive(1)) == []

    def test_an_expired_delivery_acknowledges_and_releases_nothing(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        old, new = self.expired_and_current(queue, messaging)
        queue.ack([old])
        queue.release([old])
        assert ids(queue.receive(10)) == []
        queue.release([new])
        assert ids(queue.receive(10)) == ["1", "2"]

    def test_a_transient_failure_is_not_a_lost_lease(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, "1")])
        held = queue.receive(1)
        messaging.server.fail("Acknowledge", "TRANSIENT_FAILURE_INVALID_ACK_ID")
        with pytest.raises(UnavailableError, match="may be tried again"):
            queue.ack(held)
        queue.ack(held)
        messaging.server.advance(LEASE)
        assert ids(queue.receive(1)) == []


class TestWithoutExactlyOnce:
    """ "Redelivers every subsequent message with the same ordering key, including acknowledged messages.\""""

    def test_later_messages_are_redelivered_even_if_acknowledged(self, plain: Messaging) -> None:
        queue = plain.queue()
        queue.send([message(ADA, id) for id in "123"])
        first, second, third = queue.receive(10)
        queue.ack([second, third])
        queue.release([first])
        assert ids(queue.receive(10)) == ["1", "2", "3"]

    def test_a_lost_lease_is_not_reported(self, plain: Messaging) -> None:
        queue = plain.queue()
        queue.send([message(ADA, "1")])
        old = queue.receive(1)
        plain.server.advance(LEASE)
        assert ids(queue.receive(1)) == ["1"]
        queue.extend(old, 60.0)


class TestPushed:
    def test_pushed_messages_cause_no_requests(self, messaging: Messaging) -> None:
        asked = list[str]()
        subscriber = watched(messaging.subscriber, asked.append)
        queue = PubSubQueue(messaging.publisher, subscriber, messaging.topic, messaging.subscription)
        pushed = [Delivery(message(ADA, id), PUSH_RECEIPT, 1, 0.0) for id in "12"]
        queue.extend(pushed, 60.0)
        queue.ack(pushed)
        queue.release(pushed, 5.0)
        assert asked == []

    def test_others_beside_them_are_extended(self, queue: PubSubQueue, messaging: Messaging) -> None:
        queue.send([message(ADA, "1")])
        held = queue.receive(1)
        queue.extend([Delivery(message(BEN, "x"), PUSH_RECEIPT, 1, 0.0), *held], 60.0)
        messaging.server.advance(59)
        assert ids(queue.receive(1)) == []


class TestAttempts:
    def test_they_are_counted_with_a_dead_letter_policy(self, google: GoogleServer) -> None:
        messaging = Messaging.at(google)
        messaging.create_topic()
        policy = {"dead_letter_topic": messaging.dead_letters(), "max_delivery_attempts": 100}
        messaging.subscribe(dead_letter_policy=policy)
        queue = messaging.queue()
        queue.send([message(ADA, "1")])
        for attempt in (1, 2, 3):
            (held,) = queue.receive(1)
            assert held.attempt == attempt
            queue.release([held])
        messaging.close()

    @pytest.mark.parametrize(("leases", "attempt"), [(0, 1), (1.5, 2), (2.5, 3), (9.5, 10)])
    def test_without_a_policy_they_are_estimated_by_the_age_of_the_message(
        self, leases: float, attempt: int, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        queue.send([message(ADA, "1")])
        messaging.server.advance(leases * LEASE)
        assert queue.receive(1)[0].attempt == attempt


class TestPublisher:
    """A failure concerns one call: no key is blocked afterwards, and no message overtakes."""

    def test_messages_that_were_not_sent_are_sent_again_in_order(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        queue.send([message(ADA, "1")])
        messaging.server.fail("Publish", "RESOURCE_EXHAUSTED")
        with pytest.raises(UnavailableError):
            queue.send([message(ADA, "2"), message(ADA, "3")])
        queue.send([message(ADA, "2"), message(ADA, "3")])
        queue.send([message(ADA, "4")])
        assert ids(queue.receive(10)) == ["1", "2", "3", "4"]

    def test_messages_sent_again_after_a_lost_response_are_duplicated(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        messaging.server.fail("Publish", "UNAVAILABLE", done=True)
        with pytest.raises(OutcomeUnknownError):
            queue.send([message(ADA, "1"), message(ADA, "2")])
        queue.send([message(ADA, "1"), message(ADA, "2")])
        assert ids(queue.receive(10)) == ["1", "2", "1", "2"]

    def test_a_message_with_a_known_id_and_another_body_is_queued(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, "1", "a"), message(ADA, "1", "b"), message(ADA, "1", "a")])
        queue.send([message(ADA, "1", "c")])
        held = queue.receive(10)
        assert [(each.message.id, each.message.body) for each in held] == [("1", body) for body in "abac"]
        queue.ack(held[:2])
        queue.release(held[2:])
        assert [each.message.body for each in queue.receive(10)] == ["a", "c"]

    def test_after_a_failed_request_no_later_one_is_made(self, queue: PubSubQueue, messaging: Messaging) -> None:
        backlog = [message(ADA, f"{number}") for number in range(2 * MAX_BATCH_SIZE + 1)]
        messaging.server.fail("Publish", "RESOURCE_EXHAUSTED", skip=1)
        with pytest.raises(OutcomeUnknownError, match="1 of 3 requests were answered"):
            queue.send([*backlog, message(BEN, "x")][:-1])
        assert ids(queue.receive(5000)) == [f"{number}" for number in range(MAX_BATCH_SIZE)]

    def test_one_request_for_each_key(self, queue: PubSubQueue, messaging: Messaging) -> None:
        before = messaging.server.requests().get("Publish", 0)
        queue.send([message(ADA, "1"), message(BEN, "1"), message(ADA, "2")])
        assert messaging.server.requests()["Publish"] - before == 2


class TestSizes:
    def test_if_one_message_is_too_large_none_is_sent(self, queue: PubSubQueue) -> None:
        with pytest.raises(TooLargeError, match="10,000,000"):
            queue.send([message(ADA, "1"), message(ADA, "2", "x" * MAX_REQUEST_BYTES)])
        assert ids(queue.receive(10)) == []

    def test_the_largest_fits(self, queue: PubSubQueue) -> None:
        overhead = len(to_text(message(ADA, "1", ""))) + len(ordering_key(ADA)) + len(ADA.machine) + 96
        queue.send([message(ADA, "1", "x" * (MAX_REQUEST_BYTES - overhead))])
        assert ids(queue.receive(1, 5.0)) == ["1"]

    def test_a_request_has_one_key_a_thousand_messages_and_ten_megabytes(self) -> None:
        def entries(ordering: str, count: int, size: int) -> list[PublishEntry]:
            return [PublishEntry(ordering, "m", b"", size) for _ in range(count)]

        batches = in_batches(entries("a", 1001, 1) + entries("b", 3, MAX_REQUEST_BYTES // 2) + entries("a", 2, 1))
        assert [(batch[0].ordering, len(batch)) for batch in batches] == [("a", 1000), ("a", 3), ("b", 2), ("b", 1)]


class TestNames:
    def test_a_short_printable_key_is_its_own_ordering_key(self) -> None:
        assert ordering_key(ADA) == "signup/ada"

    @pytest.mark.parametrize("instance", ["x" * MAX_ORDERING_KEY_BYTES, "é" * 512, "a\nb", "\ud83d"])
    def test_other_keys_are_hashed(self, instance: str) -> None:
        name = ordering_key(Key("m", instance))
        assert (len(name), "/" in name) == (64, False)


LONG = Key("m", "x" * 2000)
"""A key whose ordering key is a hash."""


class TestWhatIsNotSettleds:
    """Anyone with access to the topic can publish anything to it."""

    def publish(self, messaging: Messaging, data: bytes, ordering: str) -> None:
        request = {"topic": messaging.topic, "messages": [{"data": data, "ordering_key": ordering}]}
        messaging.publisher.publish(request=request, retry=None, timeout=5.0)

    @pytest.fixture
    def dead(self, google: GoogleServer) -> Iterator[Messaging]:
        """A subscription with a dead-letter topic."""
        messaging = Messaging.at(google)
        messaging.create_topic()
        messaging.subscribe(
            enable_exactly_once_delivery=True, dead_letter_policy={"dead_letter_topic": messaging.dead_letters()}
        )
        yield messaging
        messaging.close()

    @pytest.mark.parametrize("data", [b"hello", b"\xff", b"{}", b'{"kind":"wake"}', b'{"key":"a/b","id":1,"body":""}'])
    def test_is_a_malformed_message_of_the_instance_whose_ordering_key_it_has(
        self, queue: PubSubQueue, messaging: Messaging, data: bytes
    ) -> None:
        queue.send([message(ADA, "1")])
        self.publish(messaging, data, "signup/ada")
        queue.send([message(ADA, "2")])
        before, malformed, after = queue.receive(10)
        assert (before.message, after.message) == (message(ADA, "1"), message(ADA, "2"))
        assert malformed.message.key == ADA
        assert is_malformed(malformed.message)
        queue.release([before, malformed, after])
        assert [each.message for each in queue.receive(10)] == [before.message, malformed.message, after.message]

    def test_includes_a_message_under_the_ordering_key_of_another_key(
        self, queue: PubSubQueue, messaging: Messaging
    ) -> None:
        self.publish(messaging, to_text(message(ADA, "1")), ordering_key(BEN))
        (delivery,) = queue.receive(10)
        assert delivery.message.key == BEN
        assert is_malformed(delivery.message)

    @pytest.mark.parametrize("ordering", ["", "x", "/x", "x/", ordering_key(LONG)])
    def test_is_moved_to_the_dead_letter_topic_if_it_names_no_instance(
        self, dead: Messaging, ordering: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = dead.queue()
        self.publish(dead, b"hello", ordering)
        queue.send([message(LONG, "1"), message(ADA, "1")])
        assert {each.message for each in queue.receive(10)} == {message(LONG, "1"), message(ADA, "1")}
        assert dead.dead_letters_received() == [(ordering, b"hello")]
        assert "is not settled's and names no instance; it was moved to" in caplog.text
        assert "hello" not in caplog.text
        dead.server.advance(LEASE)
        assert len(queue.receive(10)) == 2

    def test_stays_with_what_follows_it_if_there_is_no_dead_letter_topic(
        self, queue: PubSubQueue, messaging: Messaging, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue.send([message(LONG, "1")])
        self.publish(messaging, b"hello", ordering_key(LONG))
        queue.send([message(LONG, "2"), message(ADA, "1")])
        assert {each.message for each in queue.receive(10)} == {message(LONG, "1"), message(ADA, "1")}
        assert "it stays, because there is no dead-letter topic" in caplog.text

    def test_stays_if_it_cannot_be_moved(self, dead: Messaging, caplog: pytest.LogCaptureFixture) -> None:
        self.publish(dead, b"hello", "x")
        dead.server.fail("GetSubscription", "PERMISSION_DENIED")
        assert dead.queue().receive(10) == []
        assert "it could not be moved to the dead-letter topic" in caplog.text
        assert dead.server.outstanding(dead.subscription) == 1


class TestEarlyTimers:
    """Timers published before they are due, because they wait longer than Cloud Tasks allows."""

    def send(self, messaging: Messaging, sent: Timer) -> None:
        published = {"data": timer_to_text(sent), "ordering_key": ordering_key(sent.message.key)}
        request = {"topic": messaging.topic, "messages": [published]}
        messaging.publisher.publish(request=request, retry=None, timeout=5.0)

    def test_they_are_scheduled_again_and_acknowledged(self, messaging: Messaging) -> None:
        scheduled: list[Timer] = []
        queue = messaging.queue(reschedule=scheduled.append)
        early = timer("t", messaging.server.now() + 60)
        self.send(messaging, early)
        queue.send([message(ADA, "1")])
        assert ids(queue.receive(10)) == ["1"]
        assert scheduled == [early]
        messaging.server.advance(LEASE)
        assert ids(queue.receive(10)) == ["1"]

    def test_if_that_fails_they_block_their_key(self, messaging: Messaging) -> None:
        def fail(_: Timer) -> None:
            raise UnavailableError("not now")

        queue = messaging.queue(reschedule=fail)
        self.send(messaging, timer("t", messaging.server.now() + 600))
        queue.send([message(ADA, "1"), message(BEN, "x")])
        assert ids(queue.receive(10)) == ["x"]
        messaging.server.advance(LEASE)
        scheduled: list[Timer] = []
        assert ids(messaging.queue(reschedule=scheduled.append).receive(10)) == ["1", "x"]
        assert len(scheduled) == 1

    def test_when_due_they_are_messages(self, messaging: Messaging) -> None:
        due = timer("t", messaging.server.now() - 1)
        self.send(messaging, due)
        assert [each.message for each in messaging.queue().receive(10)] == [due.message]

    def test_they_carry_their_due_time(self) -> None:
        assert from_text(timer_to_text(timer("t", 12.625))) == timer("t", 12.625)
        assert isinstance(from_text(to_text(message(ADA, "1"))), Message)


class TestHeaders:
    """The topic accepts messages from other senders, too, so what they send is checked here."""

    def test_are_in_the_data(self) -> None:
        sent = Message(ADA, "1", "{}", {"traceparent": "00-1"})
        assert from_text(to_text(sent)) == sent
        assert from_text(timer_to_text(Timer("t", sent, 12.625))) == Timer("t", sent, 12.625)

    @pytest.mark.parametrize("headers", ["null", "[1]", '{"Upper":"x"}', '{"a":1}'])
    def test_that_are_not_allowed_make_it_no_message(self, headers: str) -> None:
        data = to_text(message(ADA, "1"))[:-1] + f',"headers":{headers}}}'.encode()
        with pytest.raises(EventError, match="header"):
            from_text(data)
        decoded = decode_received(data, ordering_key(ADA), "1")
        assert isinstance(decoded, Message)
        assert is_malformed(decoded)


class TestWaiting:
    def test_a_pull_ends_with_the_first_message(self, queue: PubSubQueue) -> None:
        queue.send([message(ADA, "1")])
        assert ids(queue.receive(10, 60.0)) == ["1"]

    def test_a_pull_without_a_message_ends_after_its_timeout(self, queue: PubSubQueue) -> None:
        assert ids(queue.receive(10, 0.3)) == []

    def test_nothing_is_leased_if_the_time_is_not_available(self, messaging: Messaging) -> None:
        def fail() -> float:
            raise UnavailableError("Firestore does not answer")

        messaging.queue().send([message(ADA, "1")])
        with pytest.raises(UnavailableError, match="Firestore"):
            messaging.queue(clock=fail).receive(1)
        assert messaging.server.outstanding(messaging.subscription) == 0
