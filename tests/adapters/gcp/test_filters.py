"""Subscriptions with filters, so that each of several services on one topic receives its own messages."""

from __future__ import annotations

import time

import pytest
from attrs import evolve

from settled import Key
from settled_gcp.filters import filter_of, machines_in
from settled_gcp.names import MAX_ATTRIBUTE_BYTES, machine_attribute
from settled_gcp.url import GcpUrl
from settled_runtime import CompositeBackend
from tests.adapters.gcp.fixtures import Cloud, backend, create
from tests.support.builders import fresh_name, ids, message, timer

ORDER, BILL, OTHER = Key("order", "1"), Key("bill", "1"), Key("other", "1")


@pytest.fixture
def orders(cloud: Cloud) -> GcpUrl:
    url = cloud.gcp_url(fresh_name(), machines="order,other")
    create(cloud, url, filter=filter_of(["order", "other"]))
    return url


@pytest.fixture
def bills(cloud: Cloud, orders: GcpUrl) -> CompositeBackend:
    url = evolve(orders, subscription=f"{orders.subscription}-bills", machines=frozenset({"bill"}))
    cloud.subscriber.create_subscription(
        request={
            "name": url.subscription_name,
            "topic": url.topic_name,
            "ack_deadline_seconds": url.lease.seconds,
            "enable_message_ordering": True,
            "enable_exactly_once_delivery": True,
            "filter": filter_of(["bill"]),
        }
    )
    return backend(cloud, url)


def test_each_subscription_delivers_the_messages_of_its_machines(
    cloud: Cloud, orders: GcpUrl, bills: CompositeBackend
) -> None:
    both = backend(cloud, orders)
    both.queue.send([message(ORDER, "1"), message(BILL, "2"), message(OTHER, "3"), message(BILL, "4")])
    assert sorted(ids(both.queue.receive(10, 5.0))) == ["1", "3"]
    assert ids(bills.queue.receive(10, 5.0)) == ["2", "4"]


def test_timers_are_delivered_by_the_subscription_of_their_machine(
    cloud: Cloud, orders: GcpUrl, bills: CompositeBackend
) -> None:
    backend(cloud, orders).timers.schedule(timer("t", time.time() + 0.5, BILL))
    assert ids(bills.queue.receive(10, 10.0)) == ["t"]


@pytest.mark.parametrize("machines", [["order"], ["order", "a b"], ['a"b', "c\\d", "é/x"], ["m" * 2000]])
def test_a_filter_names_its_machines(machines: list[str]) -> None:
    assert machines_in(filter_of(machines)) == frozenset(map(machine_attribute, machines))


@pytest.mark.parametrize("text", ["attributes.a", 'hasPrefix(attributes.settled_machine, "o")', "x OR", " "])
def test_another_filter_is_not_taken_for_one(text: str) -> None:
    assert machines_in(text) is None


def test_the_attribute_of_a_machine_fits() -> None:
    assert len(machine_attribute("é" * 600).encode()) <= MAX_ATTRIBUTE_BYTES
    assert machine_attribute("order") == "order"
    assert machine_attribute("\ud800").isascii()
