"""StreamingPull from the tests' Pub/Sub, by the real client, and a worker on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any, cast

import pytest
from attrs import define, field, frozen

from settled import BackendConfigError, Backoff, ConflictError, Policy, UnavailableError
from settled.durable import Delivery, Message
from settled.durable.malformed import is_malformed
from settled_gcp.connect import assemble
from settled_gcp.envelope import to_text
from settled_gcp.names import ordering_key
from settled_gcp.queue import PubSubQueue
from settled_gcp.streaming_pull import StreamingQueue
from settled_gcp.url import parse_url
from settled_local import MemoryBackend
from settled_runtime import Client, CompositeBackend, Worker
from tests.adapters.gcp.fixtures import LEASE, PROJECT
from tests.adapters.gcp.messaging import Messaging
from tests.emulators.pubsub import GoogleServer, pubsub
from tests.support.builders import ADA, BEN, PATIENCE, ids, message, until
from tests.support.traced_machine import MACHINE

pubsub_types: Any = import_module("google.pubsub_v1.types")


@pytest.fixture(scope="module")
def standing() -> Iterator[GoogleServer]:
    """A server whose clock is stopped."""
    with pubsub() as server:
        server.freeze()
        yield server


@frozen
class Streamed:
    """A streaming queue and its topic."""

    messaging: Messaging
    queue: StreamingQueue

    def send(self, *ids: str, key: Any = ADA) -> None:
        self.queue.send([message(key, id) for id in ids])

    def receives(self, *expected: str, limit: int = 10) -> list[Delivery]:
        """Receive as many messages as expected, and check their ids."""
        found = list[Delivery]()
        end = time.monotonic() + PATIENCE
        while len(found) < len(expected) and time.monotonic() < end:
            found += self.queue.receive(limit - len(found), 0.2)
        assert ids(found) == list(expected)
        return found

    def receives_nothing(self) -> None:
        assert ids(self.queue.receive(10, 0.3)) == []

    def waits(self, count: int, buffered: bool = True) -> None:
        """Wait until Pub/Sub has delivered `count` messages, and, if `buffered`, until they are in the buffers."""
        until(lambda: self.messaging.server.outstanding(self.messaging.subscription) == count)
        time.sleep(0.3 if buffered else 0.0)

    def advance(self, seconds: float) -> None:
        self.messaging.server.advance(seconds)


@contextmanager
def streaming(server: GoogleServer, **options: Any) -> Generator[Streamed]:
    messaging = Messaging.at(server)
    messaging.create(**{"enable_exactly_once_delivery": True, **options})
    queue = StreamingQueue(messaging.queue(), messaging.subscriber, clock=server.now)
    yield Streamed(messaging, queue)
    queue.close()
    messaging.close()


@contextmanager
def counting(server: GoogleServer) -> Generator[Streamed]:
    """With a dead-letter policy, so that delivery attempts are counted."""
    messaging = Messaging.at(server)
    messaging.create_topic()
    policy = {"dead_letter_topic": messaging.dead_letters(), "max_delivery_attempts": 100}
    messaging.subscribe(enable_exactly_once_delivery=True, dead_letter_policy=policy)
    queue = StreamingQueue(messaging.queue(), messaging.subscriber, clock=server.now)
    yield Streamed(messaging, queue)
    queue.close()
    messaging.close()


@pytest.fixture
def streamed(standing: GoogleServer) -> Iterator[Streamed]:
    with streaming(standing) as streamed:
        yield streamed


class TestOneHolder:
    """A stream brings later messages of a key while earlier ones are outstanding; the queue enforces one holder."""

    def test_messages_of_a_held_key_wait(self, streamed: Streamed) -> None:
        streamed.send("1")
        held = streamed.receives("1")
        streamed.send("2", "3")
        streamed.waits(3)
        streamed.receives_nothing()
        streamed.queue.ack(held)
        streamed.receives("2", "3")

    def test_a_held_key_does_not_block_others(self, streamed: Streamed) -> None:
        streamed.send("1")
        streamed.receives("1")
        streamed.send("2")
        streamed.send("x", key=BEN)
        streamed.receives("x")

    def test_acknowledging_part_of_a_key_does_not_free_it(self, streamed: Streamed) -> None:
        streamed.send("1", "2")
        streamed.send("3")
        first, second = streamed.receives("1", "2", limit=2)
        streamed.waits(3)
        streamed.queue.ack([first])
        streamed.receives_nothing()
        streamed.queue.ack([second])
        streamed.receives("3")

    @pytest.mark.parametrize("buffered", [True, False])
    def test_releasing_a_message_releases_later_ones_that_wait_or_are_on_the_way(
        self, streamed: Streamed, buffered: bool
    ) -> None:
        streamed.send("1")
        held = streamed.receives("1")
        streamed.send("2", "3")
        streamed.waits(3, buffered)
        streamed.queue.release(held, 5.0)
        streamed.advance(4)
        streamed.receives_nothing()
        streamed.advance(1)
        streamed.receives("1", "2", "3")

    def test_a_long_release_delay_holds_back_the_whole_key(self, standing: GoogleServer) -> None:
        with counting(standing) as streamed:
            streamed.send("1")
            held = streamed.receives("1")
            streamed.send("2", "3")
            streamed.waits(3)
            streamed.queue.release(held, 3.0 * LEASE)
            streamed.advance(2 * LEASE)
            streamed.receives_nothing()
            streamed.advance(LEASE)
            assert [each.attempt for each in streamed.receives("1", "2", "3")] == [2, 2, 2]


class TestLease:
    def test_a_message_whose_lease_ended_is_redelivered_before_those_that_wait(self, streamed: Streamed) -> None:
        streamed.send("1")
        (stale,) = streamed.receives("1")
        streamed.advance(LEASE / 2)
        streamed.send("2")
        streamed.waits(2)
        streamed.advance(LEASE / 2)
        again = streamed.receives("1", "2")
        with pytest.raises(ConflictError):
            streamed.queue.extend([stale], LEASE)
        streamed.queue.extend(again, LEASE)
        streamed.queue.ack([stale])
        streamed.queue.release([stale])
        streamed.queue.ack(again)
        streamed.receives_nothing()

    def test_an_extension_includes_the_messages_that_wait(self, streamed: Streamed) -> None:
        streamed.send("1")
        held = streamed.receives("1")
        streamed.send("2")
        streamed.waits(2)
        for _ in range(4):
            streamed.advance(LEASE / 2)
            streamed.queue.extend(held, LEASE)
        streamed.queue.ack(held)
        (second,) = streamed.receives("2")
        streamed.queue.ack([second])
        streamed.advance(2 * LEASE)
        streamed.receives_nothing()

    def test_a_message_that_waited_has_a_fresh_lease_when_it_is_received(self, streamed: Streamed) -> None:
        streamed.send("1")
        held = streamed.receives("1")
        streamed.send("2")
        streamed.waits(2)
        streamed.advance(LEASE * 0.8)
        streamed.queue.ack(held)
        (second,) = streamed.receives("2")
        assert second.lease_until == pytest.approx(streamed.messaging.server.now() + LEASE)
        streamed.advance(LEASE * 0.8)
        streamed.queue.extend([second], LEASE)


class TestTheStream:
    def test_a_message_arrives_as_soon_as_it_is_published(self, streamed: Streamed) -> None:
        streamed.receives_nothing()
        threading.Timer(0.2, lambda: streamed.send("1")).start()
        assert ids(streamed.queue.receive(1, PATIENCE)) == ["1"]

    def test_when_it_breaks_no_message_is_lost_or_duplicated(self, streamed: Streamed) -> None:
        streamed.send("1")
        held = streamed.receives("1")
        streamed.messaging.server.fail("StreamingPull", "UNAVAILABLE")
        with pytest.raises(UnavailableError, match="streaming from"):
            streamed.queue.receive(10, PATIENCE)
        streamed.queue.ack(held)
        streamed.send("2")
        streamed.receives("2")

    def test_a_missing_subscription_is_reported(self, streamed: Streamed) -> None:
        streamed.messaging.unsubscribe()
        with pytest.raises(BackendConfigError):
            streamed.queue.receive(1, PATIENCE)

    def test_no_more_messages_are_outstanding_than_the_limit(self, standing: GoogleServer) -> None:
        with streaming(standing) as streamed:
            queue = StreamingQueue(streamed.messaging.queue(), streamed.messaging.subscriber, max_outstanding=2)
            streamed.send("1", "2", "3")
            assert ids(queue.receive(10, PATIENCE)) == ["1", "2"]
            streamed.waits(2)
            queue.close()

    def test_after_close_its_messages_are_redelivered(self, streamed: Streamed) -> None:
        streamed.send("1")
        streamed.receives("1")
        streamed.queue.close()
        streamed.queue.close()
        streamed.advance(LEASE)
        assert ids(streamed.messaging.queue().receive(1, PATIENCE)) == ["1"]


class TestWhatIsNotSettleds:
    def test_is_delivered_as_malformed_or_set_aside(self, standing: GoogleServer) -> None:
        with counting(standing) as streamed:
            messaging = streamed.messaging
            for ordering in ("x", "signup/ada"):
                published = {"data": b"hello", "ordering_key": ordering}
                request = {"topic": messaging.topic, "messages": [published]}
                messaging.publisher.publish(request=request, retry=None, timeout=5.0)
            streamed.send("1")
            malformed = streamed.queue.receive(1, PATIENCE)
            assert is_malformed(malformed[0].message)
            streamed.queue.ack(malformed)
            streamed.receives("1")
            until(lambda: messaging.dead_letters_received() == [("x", b"hello")])


@define(eq=False)
class Scripted:
    """A subscriber whose stream the test feeds; `released` are the released receipts."""

    released: list[str] = field(factory=list[str])
    _responses: Queue[Any] = field(factory=Queue[Any])

    def streaming_pull(self, requests: Any, **_: Any) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._responses.get, None)

    def cancel(self) -> None:
        self._responses.put(None)

    def modify_ack_deadline(self, request: Any, **_: Any) -> None:
        self.released += request["ack_ids"]

    def acknowledge(self, **_: Any) -> None: ...

    def brings(self, receipt: str, sent: Message) -> None:
        at = datetime.fromtimestamp(5.0, UTC)
        published = pubsub_types.PubsubMessage(data=to_text(sent), ordering_key=ordering_key(sent.key), publish_time=at)
        received = pubsub_types.ReceivedMessage(ack_id=receipt, message=published)
        self._responses.put(pubsub_types.StreamingPullResponse(received_messages=[received]))


class TestIds:
    def test_the_expected_redelivery_is_recognised_by_its_body_too(self) -> None:
        client = Scripted()
        buffer = PubSubQueue(cast("Any", None), cast("Any", client), "topic", "subscription", clock=lambda: 5.0)
        queue = StreamingQueue(buffer, cast("Any", client), clock=lambda: 5.0)
        client.brings("first", message(ADA, "1", "a"))
        queue.release(queue.receive(1, PATIENCE))
        client.brings("overtaking", message(ADA, "1", "b"))
        until(lambda: client.released == ["first", "overtaking"])
        client.brings("again", message(ADA, "1", "a"))
        (first,) = queue.receive(1, PATIENCE)
        queue.ack([first])
        client.brings("behind", message(ADA, "1", "b"))
        (second,) = queue.receive(1, PATIENCE)
        assert [first.message.body, second.message.body] == ["a", "b"]
        queue.close()


class TestOpening:
    def test_the_url_option_pull_selects_streaming(self, standing: GoogleServer) -> None:
        messaging, unused = Messaging.at(standing), cast("Any", None)
        messaging.create()
        url = parse_url(f"gcp://{PROJECT}/{messaging.name}?location=europe-west1&lease={LEASE}&pull=stream")
        opened = assemble(
            url,
            firestore=unused,
            publisher=messaging.publisher,
            subscriber=messaging.subscriber,
            tasks=lambda: messaging.tasks,
            clock=standing.now,
        )
        opened.queue.send([message(ADA, "1")])
        before = standing.requests().get("Pull", 0)
        assert ids(opened.queue.receive(1, PATIENCE)) == ["1"]
        assert standing.requests().get("Pull", 0) == before
        opened.close()
        messaging.close()


@contextmanager
def working(server: GoogleServer, **options: Any) -> Generator[tuple[Streamed, Client[Any]]]:
    """Run a worker on a stream, with records in memory; yield the queue and a client."""
    with streaming(server, **options) as streamed:
        timers = streamed.messaging.timers(streamed.messaging.queue())
        backend = CompositeBackend(MemoryBackend().store, streamed.queue, timers, lease=timedelta(seconds=LEASE))
        policy = Policy(max_attempts=1000, backoff=Backoff(first=timedelta(0)))
        with Worker([MACHINE], backend, policy=policy, receive_wait=timedelta(seconds=0.2)).running():
            yield streamed, Client(MACHINE, backend)


class TestWorker:
    def test_messages_of_many_keys_are_handled_each_key_in_order_without_a_pull(self, google: GoogleServer) -> None:
        with working(google) as (streamed, client):
            pulls = streamed.messaging.server.requests().get("Pull", 0)
            for instance in "abc":
                client.start(instance)
            for number in range(10):
                for instance in "abc":
                    client.send(instance, {"type": "TAKE", "number": number})
            until(lambda: all(len(taken(client, instance)) == 10 for instance in "abc"))
            assert [taken(client, instance) for instance in "abc"] == [list(range(10))] * 3
            assert streamed.messaging.server.requests().get("Pull", 0) == pulls

    @pytest.mark.parametrize("exactly_once", [True, False])
    def test_a_failed_message_is_redelivered_before_later_ones(
        self, google: GoogleServer, tmp_path: Path, exactly_once: bool
    ) -> None:
        healed = tmp_path / "healed"
        google.repeat_acked(not exactly_once)
        with working(google, enable_exactly_once_delivery=exactly_once) as (_, client):
            google.repeat_acked(False)
            client.start("ada")
            client.send("ada", {"type": "TAKE", "number": 1, "until": str(healed)})
            for number in (2, 3):
                client.send("ada", {"type": "TAKE", "number": number})
            time.sleep(0.5)
            assert taken(client, "ada") == []
            healed.touch()
            until(lambda: taken(client, "ada") == [1, 2, 3])


def taken(client: Client[Any], instance: str) -> list[Any]:
    snapshot = client.get(instance)
    return [] if snapshot is None else list(snapshot.context["taken"])
