"""What Pub/Sub has moved to a dead-letter topic comes back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from settled import Key, assign, setup
from settled.durable import Event, Message, encode
from settled_gcp.url import GcpUrl
from settled_runtime import Client, CompositeBackend, Host, RecoveryReport, recover_dropped
from tests.adapters.gcp.fixtures import Cloud, backend, create
from tests.support.builders import fresh_name, until

counter = setup(actions={"append": assign(seen=lambda a: [*a.context["seen"], a.event["n"]])}).machine(
    {
        "id": "counter",
        "context": {"seen": []},
        "initial": "on",
        "states": {"on": {"tags": ["settled"], "on": {"ADD": {"actions": "append"}}}},
    }
)
ADA = Key("counter", "ada")
ATTEMPTS = 5


@pytest.fixture
def url(cloud: Cloud) -> GcpUrl:
    """A new backend whose subscription moves a message away after five attempts."""
    url = cloud.gcp_url(fresh_name())
    topic = f"{url.topic_name}-given-up"
    cloud.publisher.create_topic(request={"name": topic})
    create(cloud, url, dead_letter_policy={"dead_letter_topic": topic, "max_delivery_attempts": ATTEMPTS})
    return url


@pytest.fixture
def dead(cloud: Cloud, url: GcpUrl) -> str:
    """The subscription of the dead-letter topic. It has no message ordering."""
    name = f"{url.subscription_name}-given-up"
    cloud.subscriber.create_subscription(request={"name": name, "topic": f"{url.topic_name}-given-up"})
    return name


@pytest.fixture
def gcp(cloud: Cloud, url: GcpUrl, dead: str) -> CompositeBackend:
    assert dead
    return backend(cloud, url)


def work(gcp: CompositeBackend) -> None:
    with Host([counter], gcp) as host:
        while held := gcp.queue.receive(100):
            host.handle(held)


def give_up(gcp: CompositeBackend, count: int) -> None:
    """Receive messages, and give them back, until `count` of them are moved away."""
    for _ in range(ATTEMPTS * count + ATTEMPTS):
        if not (held := gcp.queue.receive(100)):
            return
        gcp.queue.release(held)


def seen(gcp: CompositeBackend) -> Any:
    snapshot = Client(counter, gcp).get("ada")
    assert snapshot is not None
    return snapshot.context["seen"]


def recovered(gcp: CompositeBackend) -> RecoveryReport:
    found: list[RecoveryReport] = []

    def has_found() -> bool:
        found.append(recover_dropped(gcp))
        return bool(found[-1].recovered or found[-1].left)

    until(has_found)
    return found[-1]


def test_messages_come_back_in_their_order_and_before_what_waits(gcp: CompositeBackend) -> None:
    client = Client(counter, gcp)
    client.start("ada")
    work(gcp)
    for number in range(3):
        client.send("ada", {"type": "ADD", "n": number}, message_id=f"add-{number}")
        time.sleep(0.01)
    give_up(gcp, 3)
    client.send("ada", {"type": "ADD", "n": 3})
    report = recovered(gcp)
    assert [id for each in report.recovered for id in each.added] == ["add-0", "add-1", "add-2"]
    work(gcp)
    assert seen(gcp) == [0, 1, 2, 3]
    assert recover_dropped(gcp) == RecoveryReport()


def test_messages_that_are_too_large_for_one_commit_come_back_in_several(
    cloud: Cloud, gcp: CompositeBackend, url: GcpUrl
) -> None:
    Client(counter, gcp).start("ada")
    work(gcp)
    events = [Event({"type": "ADD", "n": number, "text": "x" * 950_000}) for number in range(12)]
    given_up = backend(cloud, cloud.gcp_url(url.topic, topic=f"{url.topic}-given-up"))
    given_up.queue.send([Message(ADA, f"add-{number}", encode(event)) for number, event in enumerate(events)])
    report = recovered(gcp)
    assert [id for each in report.recovered for id in each.added] == [f"add-{number}" for number in range(12)]
    assert report.left == []
    work(gcp)
    assert seen(gcp) == [*range(12)]


def test_a_message_that_is_not_settled_s_stays(cloud: Cloud, gcp: CompositeBackend, url: GcpUrl) -> None:
    cloud.publisher.publish(request={"topic": f"{url.topic_name}-given-up", "messages": [{"data": b"hello"}]})
    (left,) = recovered(gcp).left
    assert (left.text, left.reason) == ("hello", "is not settled's")


def test_the_subscription_may_be_named(cloud: Cloud, url: GcpUrl, dead: str) -> None:
    name = f"{url.subscription}-others"
    cloud.publisher.create_topic(request={"name": f"{url.topic_name}-others"})
    cloud.subscriber.create_subscription(
        request={"name": url.subscription_name + "-others", "topic": f"{url.topic_name}-others"}
    )
    assert dead
    named = backend(cloud, cloud.gcp_url(url.topic, dead_subscription=name))
    message = Message(ADA, "1", encode(Event({"type": "ADD", "n": 1})))
    others = backend(cloud, cloud.gcp_url(url.topic, topic=f"{url.topic}-others"))
    others.queue.send([message])
    assert [each.added for each in recovered(named).recovered] == [("1",)]


def test_without_a_policy_nothing_is_given_up(cloud: Cloud) -> None:
    url = cloud.gcp_url(fresh_name())
    create(cloud, url, dead_letter_policy=None)
    assert recover_dropped(backend(cloud, url)) == RecoveryReport()
