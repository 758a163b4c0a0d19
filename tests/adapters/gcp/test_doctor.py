"""The doctor, on an emulated project and check by check on Google's own types.

The emulators have neither IAM nor Firestore's administration API, so there the doctor reports that it could not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from attrs import evolve

from settled import BackendConfigError
from settled_gcp.doctor import (
    check_database,
    check_indexes,
    check_other_subscriptions,
    check_permissions,
    check_subscription,
    check_task_queue,
    check_time_to_live,
    examine_gcp,
)
from settled_gcp.documents import EXEMPT_RECORD_FIELDS
from settled_gcp.filters import filter_of
from settled_gcp.url import GcpUrl, parse_url
from settled_runtime.doctor import BackendProblem, examine
from tests.adapters.gcp.fixtures import Cloud, create

URL = parse_url("gcp://p/signup?location=europe-west1&keep_finished=2678400")
pubsub: Any = import_module("google.pubsub_v1.types")
tasks: Any = import_module("google.cloud.tasks_v2.types")
admin: Any = import_module("google.cloud.firestore_admin_v1.types")

SOUND: dict[str, Any] = {
    "topic": URL.topic_name,
    "enable_message_ordering": True,
    "enable_exactly_once_delivery": True,
    "ack_deadline_seconds": 60,
    "message_retention_duration": timedelta(days=31),
    "expiration_policy": {},
}
PUSHED: dict[str, Any] = {
    **SOUND,
    "enable_exactly_once_delivery": False,
    "retry_policy": {"minimum_backoff": timedelta(seconds=1)},
}
TO = {"push_endpoint": "https://signup.example/push"}
TOKEN = {"service_account_email": "push@p.iam.gserviceaccount.com", "audience": "signup"}


def says(problems: Iterator[BackendProblem]) -> list[str]:
    return [problem.problem for problem in problems]


class TestAProject:
    @pytest.fixture(autouse=True)
    def environment(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)

    def examined(self, cloud: Cloud, url: GcpUrl) -> list[str]:
        found = examine(cloud.url(url.collection))
        assert found is not None
        return [problem.problem.partition(" (")[0] for problem in found]

    def test_missing_settings_and_unreadable_resources_are_reported(self, cloud: Cloud, url: GcpUrl) -> None:
        assert self.examined(cloud, url) == [
            f"{url.subscription} keeps messages for less than 31 days",
            f"{url.subscription} expires",
            "the database could not be examined",
            "the indexes could not be examined",
            "the permissions of these credentials could not be examined",
        ]

    def test_what_is_not_there_is_said(self, cloud: Cloud) -> None:
        found = self.examined(cloud, cloud.gcp_url("nowhere"))
        assert found[:3] == [
            "the topic does not exist",
            "the subscription does not exist",
            "the task queue does not exist",
        ]

    def test_one_that_is_set_up_by_the_book_has_no_more_said_of_it(self, cloud: Cloud) -> None:
        url = cloud.gcp_url("sound")
        create(cloud, url, message_retention_duration=timedelta(days=31), expiration_policy={})
        assert [each for each in self.examined(cloud, url) if "could not be examined" not in each] == []

    def test_an_invalid_url_is_a_configuration_error(self) -> None:
        with pytest.raises(BackendConfigError):
            examine_gcp("gcp://p")


class TestTheSubscription:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, []),
            ({"topic": "projects/p/topics/other"}, ["signup is a subscription of projects/p/topics/other"]),
            ({"enable_message_ordering": False}, ["signup has no message ordering"]),
            ({"filter": "attributes.a"}, ["signup has the filter attributes.a"]),
            ({"filter": filter_of(["order"])}, [f"signup has the filter {filter_of(['order'])}"]),
            ({"ack_deadline_seconds": 10}, ["signup has an ack deadline of 10 s"]),
            ({"message_retention_duration": timedelta(days=7)}, ["signup keeps messages for less than 31 days"]),
            ({"message_retention_duration": None}, ["signup keeps messages for less than 31 days"]),
            ({"expiration_policy": None}, ["signup expires"]),
            ({"expiration_policy": {"ttl": timedelta(days=31)}}, ["signup expires"]),
            ({"dead_letter_policy": {"dead_letter_topic": "t"}}, ["signup has a dead-letter policy"]),
            ({"retry_policy": {}}, ["signup has a retry policy"]),
            ({"enable_exactly_once_delivery": False}, ["signup has no exactly-once delivery"]),
        ],
    )
    def test_pulled(self, change: dict[str, Any], expected: list[str]) -> None:
        assert says(check_subscription(URL, pubsub.Subscription(**{**SOUND, **change}))) == expected

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
        assert says(check_subscription(URL, pubsub.Subscription(**PUSHED, push_config=push))) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (filter_of(["bill", "order"]), []),
            (filter_of(["order", "bill"]), []),
            ("", ["signup has no filter"]),
            (filter_of(["order"]), ["the filter of signup leaves out bill"]),
            (filter_of(["bill", "order", "other"]), ["the filter of signup selects other"]),
            ("attributes.a", ["signup has the filter attributes.a"]),
        ],
    )
    def test_for_some_machines(self, text: str, expected: list[str]) -> None:
        url = evolve(URL, machines=frozenset({"order", "bill"}))
        assert says(check_subscription(url, pubsub.Subscription(**SOUND, filter=text))) == expected

    @pytest.mark.parametrize(
        ("own", "other", "is_ordered", "is_reported"),
        [
            ("", "", True, True),
            (filter_of(["order"]), "", True, True),
            ("", filter_of(["order"]), True, True),
            (filter_of(["order"]), filter_of(["bill"]), True, False),
            (filter_of(["order", "bill"]), filter_of(["bill"]), True, True),
            (filter_of(["order"]), "attributes.a", True, True),
            ("", "", False, False),
        ],
    )
    def test_beside_another_one(self, own: str, other: str, is_ordered: bool, is_reported: bool) -> None:
        name = "projects/p/subscriptions/other"
        others = [
            pubsub.Subscription(**SOUND, name=URL.subscription_name, filter=own),
            pubsub.Subscription(**{**SOUND, "enable_message_ordering": is_ordered}, name=name, filter=other),
        ]
        reported = says(check_other_subscriptions(URL, own, others))
        assert reported == ["other delivers messages that signup delivers, too"] * is_reported

    def test_pushed_without_a_retry_policy(self) -> None:
        found = pubsub.Subscription(**{**PUSHED, "retry_policy": None}, push_config={**TO, "oidc_token": TOKEN})
        assert says(check_subscription(URL, found)) == ["signup has no retry policy"]


class TestADeadLetterPolicy:
    """It moves healthy messages away in a long outage: Pub/Sub allows a hundred attempts, ten minutes apart."""

    @pytest.mark.parametrize(
        ("settings", "attempts", "outage"),
        [
            (SOUND, 5, "5 seconds"),
            (SOUND, 100, "7 hours"),
            ({**PUSHED, "push_config": {**TO, "oidc_token": TOKEN}}, 100, "15 hours"),
            ({**PUSHED, "push_config": {**TO, "oidc_token": TOKEN}, "retry_policy": {}}, 100, "16 hours"),
        ],
    )
    def test_is_reported_with_the_outage_that_uses_it_up(
        self, settings: dict[str, Any], attempts: int, outage: str
    ) -> None:
        policy = {"dead_letter_topic": "t", "max_delivery_attempts": attempts}
        (found,) = check_subscription(URL, pubsub.Subscription(**settings, dead_letter_policy=policy))
        assert found.problem == "signup has a dead-letter policy"
        assert f"after {attempts} attempts, in an outage of {outage}, messages are moved" in found.consequence
        assert "keeps messages for 31 days without a policy" in found.consequence


def test_the_retry_policy_of_a_pulled_subscription_is_reported_with_what_it_adds_to_each_wait() -> None:
    policy = {"minimum_backoff": timedelta(seconds=10), "maximum_backoff": timedelta(seconds=300)}
    (found,) = check_subscription(URL, pubsub.Subscription(**SOUND, retry_policy=policy))
    assert "takes longer, by 5 minutes in the end" in found.consequence


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
    assert says(check_task_queue(URL, tasks.Queue(**queue))) == expected


def test_the_database() -> None:
    sound = {"type_": "FIRESTORE_NATIVE", "delete_protection_state": "DELETE_PROTECTION_ENABLED"}
    assert says(check_database(admin.Database(**sound))) == []
    assert says(check_database(admin.Database(**{**sound, "type_": "DATASTORE_MODE"}))) == [
        "the database is not in native mode"
    ]
    assert says(check_database(admin.Database(type_="FIRESTORE_NATIVE"))) == ["the database can be deleted"]


class TestFields:
    def field(self, name: str, **config: Any) -> Any:
        return admin.Field(name=f"projects/p/databases/(default)/collectionGroups/signup/fields/{name}", **config)

    def test_indexes_that_no_query_needs(self) -> None:
        bare = [self.field(name, index_config={"indexes": []}) for name in EXEMPT_RECORD_FIELDS]
        assert says(check_indexes("signup", EXEMPT_RECORD_FIELDS, bare)) == []
        inherited = self.field(EXEMPT_RECORD_FIELDS[0], index_config={"uses_ancestor_config": True})
        assert says(check_indexes("signup", EXEMPT_RECORD_FIELDS, [inherited, *bare[1:]])) == [
            "signup has indexes of body"
        ]

    def test_what_expires(self) -> None:
        active = self.field("expires", ttl_config={"state": "ACTIVE"})
        assert says(check_time_to_live(URL, [active])) == []
        assert says(check_time_to_live(URL, [])) == ["signup has no TTL policy"]
        soon = parse_url("gcp://p/signup?timers=sweep&keep_finished=60")
        assert says(check_time_to_live(soon, [active])) == ["finished instances are kept for less than 31 days"]
        assert says(check_time_to_live(parse_url("gcp://p/signup?timers=sweep"), [])) == []


def test_the_permissions_of_the_credentials() -> None:
    assert says(check_permissions("t", ["pubsub.topics.publish"], ["pubsub.topics.publish"])) == []
    assert says(check_permissions("t", ["b", "a"], [])) == ["these credentials lack a, b on t"]
