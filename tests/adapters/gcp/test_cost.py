"""The cost of an event in requests, reads and writes, from which ``docs/gcp.md`` computes prices.

Firestore bills a read for each document that is found, one for a query that finds nothing, and a write or a delete for
each document that is written. Each request here reads or writes one document, unless the test says otherwise.
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

POLLS = {"pull"}
"""The requests of an idle poller; with push there are none."""


class CountedHost:
    """A host and a client whose requests are counted."""

    def __init__(self, cloud: Cloud, url: GcpUrl) -> None:
        self.counts: Counter[str] = Counter()
        self._backend = backend(cloud.watched(self._count), url)
        self.host = Host([MACHINE], self._backend, observers=())
        self.client = Client(MACHINE, backend(cloud, url))
        self.first = self.take(lambda: self.client.start("ada"))

    def _count(self, name: str) -> None:
        if name not in POLLS:
            self.counts[name] += 1

    def take(self, send: Callable[[], Any]) -> Counter[str]:
        """Return the requests for handling all that `send` sends to one instance."""
        send()
        return self.count(lambda: self.host.handle(self._backend.queue.receive(10, PATIENCE)))

    def count(self, do: Callable[[], Any]) -> Counter[str]:
        """Return the requests that `do` makes."""
        self.counts.clear()
        do()
        return Counter(self.counts)

    def forget(self) -> None:
        """Continue as a new process would that knows the time, with an empty cache."""
        self.host = Host([MACHINE], self._backend, observers=())

    def invalidate(self) -> None:
        """Continue as after a minute without a response of Firestore's."""
        assert isinstance(self._backend.clock, ServerTime)
        self._backend.clock.invalidate()


@pytest.fixture
def host(cloud: Cloud, url: GcpUrl) -> CountedHost:
    return CountedHost(cloud, url)


def event(type: str, **more: Any) -> dict[str, Any]:
    return {"type": type, "number": 1, **more}


PLAIN = Counter(["batch_get_documents", "modify_ack_deadline", "commit", "acknowledge"])
"""The requests for a pulled event: a read, an extension that checks the lease, a write, an acknowledgement."""


def test_an_event_is_one_read_one_extension_one_write_and_one_acknowledgement(host: CountedHost) -> None:
    host.forget()
    assert host.take(lambda: host.client.send("ada", event("TAKE"))) == PLAIN


def test_the_next_event_of_an_instance_takes_no_read(host: CountedHost) -> None:
    counted = host.take(lambda: host.client.send("ada", event("TAKE")))
    assert counted == PLAIN - Counter(["batch_get_documents"])


def test_after_a_minute_the_time_is_read_unless_the_record_is(host: CountedHost) -> None:
    host.invalidate()
    assert host.take(lambda: host.client.send("ada", event("TAKE"))) == PLAIN
    host.forget()
    host.invalidate()
    assert host.take(lambda: host.client.send("ada", event("TAKE"))) == PLAIN


def test_the_first_event_of_a_process_takes_one_more_read_for_the_time(cloud: Cloud, url: GcpUrl) -> None:
    host = CountedHost(cloud, url)
    assert host.first == PLAIN + Counter(["batch_get_documents"])


def test_an_event_that_is_pushed_is_one_read_and_one_write(host: CountedHost) -> None:
    host.forget()
    handler = push_handler(host.host, audience="", email="")
    for id in "12":
        body = pushed(Message(Key("jobs", "ada"), id, encode(Event(event("TAKE")))))
        assert host.count(partial(handler.handle_message, body)) == {"batch_get_documents": 1, "commit": 1}


def test_several_waiting_events_cost_as_much_as_one(host: CountedHost) -> None:
    def send() -> None:
        for _ in range(10):
            host.client.send("ada", event("TAKE"))

    host.forget()
    assert host.take(send) == PLAIN


def test_an_event_that_runs_an_actor_takes_one_more_write(host: CountedHost) -> None:
    host.forget()
    counted = host.take(lambda: host.client.send("ada", event("WORK")))
    assert counted == PLAIN + Counter(["commit"])


def test_a_timer_is_one_request(host: CountedHost) -> None:
    counted = host.take(lambda: host.client.send("ada", event("WAIT")))
    assert (counted["create_task"], counted["commit"]) == (2, 1)  # in a second, and in 24 hours


def test_a_swept_timer_is_one_write_and_when_it_fires_one_read_and_one_delete(cloud: Cloud) -> None:
    url = cloud.gcp_url(fresh_name(), timers="sweep", sweep_every="0.01")
    create(cloud, url)
    host = CountedHost(cloud, url)
    scheduled = host.take(lambda: host.client.send("ada", event("WAIT")))
    assert (scheduled["commit"], scheduled["create_task"]) == (3, 0)  # the record, and both timers
    fired = host.take(lambda: time.sleep(1.1))
    assert (fired["run_query"], fired["publish"], fired["batch_write"]) == (1, 1, 1)
    assert fired["commit"] == 2  # the record, and the long timer is cancelled


def test_a_duplicate_is_one_read_and_one_acknowledgement(host: CountedHost, cloud: Cloud, url: GcpUrl) -> None:
    again = Message(Key("jobs", "ada"), "once", encode(Event(event("TAKE"))))
    data = {"data": to_text(again), "ordering_key": ordering_key(again.key)}
    host.take(lambda: host.client.send("ada", event("TAKE"), message_id="once"))
    host.forget()
    counted = host.take(lambda: cloud.publisher.publish(request={"topic": url.topic_name, "messages": [data]}))
    assert counted == PLAIN - Counter(["commit"])


def test_a_commit_under_a_lock_takes_one_more_read(cloud: Cloud) -> None:
    url = cloud.gcp_url(fresh_name(), contention="transaction")
    create(cloud, url)
    host = CountedHost(cloud, url)
    assert host.take(lambda: host.client.send("ada", event("TAKE"))) == PLAIN


def test_sending_is_one_request(cloud: Cloud, url: GcpUrl) -> None:
    counted = Counter[str]()
    watched = backend(cloud.watched(lambda name: counted.update([name])), url)
    Client(MACHINE, watched).send("ada", event("TAKE"))
    assert counted == {"publish": 1}
