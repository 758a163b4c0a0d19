"""What an event costs, counted in requests, reads and writes: the arithmetic in ``docs/gcp.md`` begins here.

Firestore counts documents: a read for each that is found, and one for a query that finds nothing; a write or a delete
for each that is written. Every request here reads or writes one document, but where the test says otherwise.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from settled import Key
from settled.durable import Event, Message, encode
from settled_gcp.clock import ServerTime
from settled_gcp.envelope import to_text
from settled_gcp.names import ordering_key
from settled_gcp.push import push_handler
from settled_gcp.url import GcpUrl
from settled_runtime import Client, Host
from tests.adapters.gcp.fixtures import Cloud, backend, create, pushed
from tests.support.builders import PATIENCE, fresh_name
from tests.support.traced_machine import MACHINE

LOOKS = {"pull"}
"""What a poller asks for, however few events there are. With push, nobody asks."""


class Till:
    """A host and a client whose requests are counted."""

    def __init__(self, cloud: Cloud, where: GcpUrl) -> None:
        self.counted: Counter[str] = Counter()
        self._backend = backend(cloud.watched(self._count), where)
        self.host = Host([MACHINE], self._backend, observers=())
        self.client = Client(MACHINE, backend(cloud, where))
        self.first = self.take(lambda: self.client.start("ada"))

    def _count(self, name: str) -> None:
        if name not in LOOKS:
            self.counted[name] += 1

    def take(self, send: Callable[[], Any]) -> Counter[str]:
        """What it takes to take all that `send` sends, which is of one instance."""
        send()
        return self.count(lambda: self.host.handle(self._backend.queue.receive(10, PATIENCE)))

    def count(self, do: Callable[[], Any]) -> Counter[str]:
        """What it takes to `do` something."""
        self.counted.clear()
        do()
        return Counter(self.counted)

    def forget(self) -> None:
        """Go on as another process would that knows the time: with no record in memory."""
        self.host = Host([MACHINE], self._backend, observers=())

    def doubt(self) -> None:
        """Go on as after a minute without an answer of Firestore's."""
        assert isinstance(self._backend.clock, ServerTime)
        self._backend.clock.doubt()


@pytest.fixture
def till(cloud: Cloud, where: GcpUrl) -> Till:
    return Till(cloud, where)


def event(type: str, **more: Any) -> dict[str, Any]:
    return {"type": type, "number": 1, **more}


PLAIN = Counter(["batch_get_documents", "modify_ack_deadline", "commit", "acknowledge"])
"""What an event takes that is pulled: a read, a look whether its lease still counts, a write, an acknowledgement."""


def test_an_event_is_one_read_one_extension_one_write_and_one_acknowledgement(till: Till) -> None:
    till.forget()
    assert till.take(lambda: till.client.send("ada", event("TAKE"))) == PLAIN


def test_the_next_event_of_an_instance_need_not_be_read_for(till: Till) -> None:
    counted = till.take(lambda: till.client.send("ada", event("TAKE")))
    assert counted == PLAIN - Counter(["batch_get_documents"])


def test_after_a_minute_the_time_is_read_unless_the_record_is(till: Till) -> None:
    till.doubt()
    assert till.take(lambda: till.client.send("ada", event("TAKE"))) == PLAIN
    till.forget()
    till.doubt()
    assert till.take(lambda: till.client.send("ada", event("TAKE"))) == PLAIN


def test_the_first_event_of_a_process_is_one_read_more_for_the_time(cloud: Cloud, where: GcpUrl) -> None:
    till = Till(cloud, where)
    assert till.first == PLAIN + Counter(["batch_get_documents"])


def test_an_event_that_is_pushed_is_one_read_and_one_write(till: Till) -> None:
    till.forget()
    handler = push_handler(till.host, audience="", email="")
    for id in "12":
        body = pushed(Message(Key("jobs", "ada"), id, encode(Event(event("TAKE")))))
        assert till.count(partial(handler.taken, body)) == {"batch_get_documents": 1, "commit": 1}


def test_several_events_that_wait_are_taken_for_the_price_of_one(till: Till) -> None:
    def send() -> None:
        for _ in range(10):
            till.client.send("ada", event("TAKE"))

    till.forget()
    assert till.take(send) == PLAIN


def test_an_event_that_calls_an_actor_is_one_write_more(till: Till) -> None:
    till.forget()
    counted = till.take(lambda: till.client.send("ada", event("WORK")))
    assert counted == PLAIN + Counter(["commit"])


def test_a_timer_is_one_request(till: Till) -> None:
    counted = till.take(lambda: till.client.send("ada", event("WAIT")))
    assert (counted["create_task"], counted["commit"]) == (2, 1)  # in a second, and in 24 hours


def test_a_swept_timer_is_one_write_and_when_it_fires_one_read_and_one_delete(cloud: Cloud) -> None:
    where = cloud.place(fresh_name(), timers="sweep", sweep_every="0.01")
    create(cloud, where)
    till = Till(cloud, where)
    scheduled = till.take(lambda: till.client.send("ada", event("WAIT")))
    assert (scheduled["commit"], scheduled["create_task"]) == (3, 0)  # the record, and both timers
    fired = till.take(lambda: time.sleep(1.1))
    assert (fired["run_query"], fired["publish"], fired["batch_write"]) == (1, 1, 1)
    assert fired["commit"] == 2  # the record, and the long timer is cancelled


def test_a_duplicate_is_one_read_and_one_acknowledgement(till: Till, cloud: Cloud, where: GcpUrl) -> None:
    again = Message(Key("jobs", "ada"), "once", encode(Event(event("TAKE"))))
    data = {"data": to_text(again), "ordering_key": ordering_key(again.key)}
    till.take(lambda: till.client.send("ada", event("TAKE"), message_id="once"))
    till.forget()
    counted = till.take(lambda: cloud.publisher.publish(request={"topic": where.topic_name, "messages": [data]}))
    assert counted == PLAIN - Counter(["commit"])


def test_a_commit_under_a_lock_is_one_read_more(cloud: Cloud) -> None:
    where = cloud.place(fresh_name(), contention="transaction")
    create(cloud, where)
    till = Till(cloud, where)
    assert till.take(lambda: till.client.send("ada", event("TAKE"))) == PLAIN


def test_sending_is_one_request(cloud: Cloud, where: GcpUrl) -> None:
    counted = Counter[str]()
    watched = backend(cloud.watched(lambda name: counted.update([name])), where)
    Client(MACHINE, watched).send("ada", event("TAKE"))
    assert counted == {"publish": 1}
