"""What the doctor finds: in a project that the emulators stand in for, and rule by rule on Google's own types.

The emulators know neither IAM nor Firestore's administration, so there the doctor says that it could not look.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from settled import BackendConfigError
from settled_gcp.doctor import (
    examine_gcp,
    of_the_agent,
    of_the_database,
    of_the_expiry,
    of_the_fields,
    of_the_leave,
    of_the_subscription,
    of_the_tasks,
    of_the_way_out,
)
from settled_gcp.documents import EXEMPT
from settled_gcp.url import GcpUrl, place_in
from settled_runtime.doctor import BackendProblem, examine
from tests.adapters.gcp.fixtures import Cloud, create

PLACE = place_in("gcp://p/signup?location=europe-west1&keep_finished=2678400")
pubsub: Any = import_module("google.pubsub_v1.types")
tasks: Any = import_module("google.cloud.tasks_v2.types")
admin: Any = import_module("google.cloud.firestore_admin_v1.types")
iam: Any = import_module("google.iam.v1.policy_pb2")

SOUND: dict[str, Any] = {
    "topic": PLACE.topic_name,
    "enable_message_ordering": True,
    "enable_exactly_once_delivery": True,
    "ack_deadline_seconds": 60,
    "message_retention_duration": timedelta(days=31),
    "expiration_policy": {},
    "dead_letter_policy": {"dead_letter_topic": "projects/p/topics/signup-dead", "max_delivery_attempts": 100},
}
PUSHED: dict[str, Any] = {
    **SOUND,
    "enable_exactly_once_delivery": False,
    "retry_policy": {"minimum_backoff": timedelta(seconds=1)},
}
TO = {"push_endpoint": "https://signup.example/push"}
TOKEN = {"service_account_email": "push@p.iam.gserviceaccount.com", "audience": "signup"}


def says(dangers: Iterator[BackendProblem]) -> list[str]:
    return [danger.problem for danger in dangers]


class TestAProject:
    @pytest.fixture(autouse=True)
    def environment(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)

    def examined(self, cloud: Cloud, where: GcpUrl) -> list[str]:
        found = examine(cloud.url(where.collection))
        assert found is not None
        return [danger.problem.partition(" (")[0] for danger in found]

    def test_what_it_lacks_is_said_and_so_is_what_nobody_could_look_at(self, cloud: Cloud, where: GcpUrl) -> None:
        assert self.examined(cloud, where) == [
            f"{where.subscription} keeps messages for less than 31 days",
            f"{where.subscription} expires",
            f"nobody subscribes to {where.topic_name}-dead",
            "the leave of Pub/Sub's own service account could not be looked at",
            "the database could not be looked at",
            "the indexes could not be looked at",
            "the leave of these credentials could not be looked at",
        ]

    def test_what_is_not_there_is_said(self, cloud: Cloud) -> None:
        found = self.examined(cloud, cloud.place("nowhere"))
        assert found[:3] == [
            "the topic is not there",
            "the subscription is not there",
            "the queue of tasks is not there",
        ]

    def test_one_that_is_set_up_by_the_book_has_no_more_said_of_it(self, cloud: Cloud) -> None:
        where = cloud.place("sound")
        create(cloud, where, message_retention_duration=timedelta(days=31), expiration_policy={})
        dead = f"{where.topic_name}-dead"
        cloud.subscriber.create_subscription(request={"name": f"{where.subscription_name}-dead", "topic": dead})
        assert [what for what in self.examined(cloud, where) if "could not be looked at" not in what] == []

    def test_a_url_that_is_not_understood_is_denied(self) -> None:
        with pytest.raises(BackendConfigError):
            examine_gcp("gcp://p")


class TestTheSubscription:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, []),
            ({"topic": "projects/p/topics/other"}, ["signup is a subscription of projects/p/topics/other"]),
            ({"enable_message_ordering": False}, ["signup has no message ordering"]),
            ({"filter": "attributes.a"}, ["signup has a filter"]),
            ({"ack_deadline_seconds": 10}, ["signup has an ack deadline of 10 s"]),
            ({"message_retention_duration": timedelta(days=7)}, ["signup keeps messages for less than 31 days"]),
            ({"message_retention_duration": None}, ["signup keeps messages for less than 31 days"]),
            ({"expiration_policy": None}, ["signup expires"]),
            ({"expiration_policy": {"ttl": timedelta(days=31)}}, ["signup expires"]),
            ({"dead_letter_policy": None}, ["signup has no dead-letter policy"]),
            ({"dead_letter_policy": {"dead_letter_topic": "t"}}, ["signup sets aside after 5 attempts"]),
            ({"enable_exactly_once_delivery": False}, ["signup has no exactly-once delivery"]),
        ],
    )
    def test_pulled(self, change: dict[str, Any], expected: list[str]) -> None:
        assert says(of_the_subscription(PLACE, pubsub.Subscription(**{**SOUND, **change}))) == expected

    @pytest.mark.parametrize(
        ("push", "expected"),
        [
            ({**TO, "oidc_token": TOKEN}, []),
            (TO, ["signup pushes without a token"]),
            ({**TO, "oidc_token": {**TOKEN, "audience": ""}}, ["signup pushes without an audience"]),
            ({"push_endpoint": "http://x", "oidc_token": TOKEN}, ["signup pushes to http://x"]),
            ({**TO, "oidc_token": TOKEN, "no_wrapper": {}}, ["signup unwraps what it pushes"]),
        ],
    )
    def test_pushed(self, push: dict[str, Any], expected: list[str]) -> None:
        assert says(of_the_subscription(PLACE, pubsub.Subscription(**PUSHED, push_config=push))) == expected

    def test_pushed_without_a_retry_policy(self) -> None:
        found = pubsub.Subscription(**{**PUSHED, "retry_policy": None}, push_config={**TO, "oidc_token": TOKEN})
        assert says(of_the_subscription(PLACE, found)) == ["signup has no retry policy"]


class TestDeadLetters:
    def test_somebody_must_subscribe_to_them(self) -> None:
        assert says(of_the_way_out("dead", ["projects/p/subscriptions/s"])) == []
        assert says(of_the_way_out("dead", [])) == ["nobody subscribes to dead"]

    def test_pubsub_itself_must_be_let(self) -> None:
        member = "serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com"
        policy = iam.Policy(bindings=[{"role": "roles/pubsub.publisher", "members": [member]}])
        assert says(of_the_agent("dead", policy, "roles/pubsub.publisher")) == []
        (said,) = says(of_the_agent("dead", policy, "roles/pubsub.subscriber"))
        assert said == "Pub/Sub's own service account is no roles/pubsub.subscriber of dead"


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ({"state": "RUNNING", "retry_config": {"max_attempts": -1}}, []),
        ({"state": "PAUSED", "retry_config": {"max_attempts": -1}}, ["the queue signup is PAUSED"]),
        ({"state": "RUNNING", "retry_config": {"max_attempts": 100}}, ["the queue signup gives up after a while"]),
        (
            {"state": "RUNNING", "retry_config": {"max_attempts": -1, "max_retry_duration": timedelta(hours=1)}},
            ["the queue signup gives up after a while"],
        ),
    ],
)
def test_the_queue_of_tasks(queue: dict[str, Any], expected: list[str]) -> None:
    assert says(of_the_tasks(PLACE, tasks.Queue(**queue))) == expected


def test_the_database() -> None:
    sound = {"type_": "FIRESTORE_NATIVE", "delete_protection_state": "DELETE_PROTECTION_ENABLED"}
    assert says(of_the_database(admin.Database(**sound))) == []
    assert says(of_the_database(admin.Database(**{**sound, "type_": "DATASTORE_MODE"}))) == [
        "the database is not in native mode"
    ]
    assert says(of_the_database(admin.Database(type_="FIRESTORE_NATIVE"))) == ["the database can be deleted"]


class TestFields:
    def field(self, name: str, **config: Any) -> Any:
        return admin.Field(name=f"projects/p/databases/(default)/collectionGroups/signup/fields/{name}", **config)

    def test_what_is_indexed_and_need_not_be(self) -> None:
        bare = [self.field(name, index_config={"indexes": []}) for name in EXEMPT]
        assert says(of_the_fields("signup", EXEMPT, bare)) == []
        inherited = self.field(EXEMPT[0], index_config={"uses_ancestor_config": True})
        assert says(of_the_fields("signup", EXEMPT, [inherited, *bare[1:]])) == ["signup has indexes of body"]

    def test_what_expires(self) -> None:
        active = self.field("expires", ttl_config={"state": "ACTIVE"})
        assert says(of_the_expiry(PLACE, [active])) == []
        assert says(of_the_expiry(PLACE, [])) == ["signup has no TTL policy"]
        soon = place_in("gcp://p/signup?timers=sweep&keep_finished=60")
        assert says(of_the_expiry(soon, [active])) == ["finished instances are kept for less than 31 days"]
        assert says(of_the_expiry(place_in("gcp://p/signup?timers=sweep"), [])) == []


def test_the_leave_of_the_credentials() -> None:
    assert says(of_the_leave("t", ["pubsub.topics.publish"], ["pubsub.topics.publish"])) == []
    assert says(of_the_leave("t", ["b", "a"], [])) == ["these credentials lack a, b on t"]
