"""Parsing of ``gcp://`` URLs, and opening a backend by one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from settled import AccessDeniedError, BackendConfigError
from settled.durable import Capability
from settled_gcp import GcpUrl, TimerService
from settled_gcp.documents import Collection
from settled_gcp.store import ConcurrencyMode
from settled_gcp.url import PullMode, parse_url
from settled_runtime import connect
from tests.adapters.gcp.fixtures import Cloud
from tests.support.builders import ADA, ids, message, stored, timer

HERE = "gcp://my-project/signup?location=europe-west1"


class TestNames:
    def test_names_default_to_the_name_in_the_url(self) -> None:
        parsed = parse_url(HERE)
        assert parsed == GcpUrl(
            project="my-project",
            collection="signup",
            topic="signup",
            subscription="signup",
            tasks="signup",
            account="signup-timers@my-project.iam.gserviceaccount.com",
            location="europe-west1",
        )
        assert parsed.records == Collection("projects/my-project/databases/(default)", "signup")
        assert parsed.topic_name == "projects/my-project/topics/signup"
        assert parsed.subscription_name == "projects/my-project/subscriptions/signup"
        assert parsed.tasks_name == "projects/my-project/locations/europe-west1/queues/signup"

    def test_each_resource_may_have_its_own_name(self) -> None:
        options = {
            "collection": "c",
            "topic": "t",
            "subscription": "s",
            "tasks": "q",
            "account": "a@b.example",
            "location": "us-east1",
            "database": "d",
            "timers": "sweep",
            "sweep_every": "2.5",
            "contention": "transaction",
            "pull": "stream",
            "lease": "30",
            "keep_finished": "2592000",
            "publish": "https://pubsub.example/",
            "largest_message": "2048",
        }
        assert parse_url(f"gcp://my-project/signup?{urlencode(options)}") == GcpUrl(
            "my-project",
            "c",
            "t",
            "s",
            "q",
            "a@b.example",
            "us-east1",
            "d",
            TimerService.SWEEP,
            timedelta(seconds=2.5),
            ConcurrencyMode.TRANSACTION,
            PullMode.STREAM,
            timedelta(seconds=30),
            timedelta(days=30),
            "https://pubsub.example",
            largest_message=2048,
        )

    def test_the_regional_endpoint_is_used_because_order_is_kept_within_a_region(self) -> None:
        parsed = parse_url(HERE)
        assert parsed.pubsub_endpoint == "europe-west1-pubsub.googleapis.com"
        assert parsed.publish_url.startswith(
            f"https://{parsed.pubsub_endpoint}/v1/projects/my-project/topics/signup:publish"
        )
        assert parse_url("gcp://my-project/signup?timers=sweep").pubsub_endpoint is None

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("gcp://", "expected gcp://PROJECT/NAME"),
            ("gcp://my-project", "expected gcp://PROJECT/NAME"),
            ("gcp:///signup", "expected gcp://PROJECT/NAME"),
            ("gcp://my-project/a/b", "expected gcp://PROJECT/NAME"),
            ("gcp://my-project/a", "Cloud Tasks needs a location: set location=REGION, or timers=sweep"),
            (f"{HERE}&leese=5", "no option 'leese'; known are account, collection"),
            (f"{HERE}&lease=0.5", "lease=0.5: expected a whole number"),
            (f"{HERE}&lease=5", "expected whole seconds, from 10 to 600"),
            (f"{HERE}&topic=", "expected a name"),
            (f"{HERE}&largest_message=1023", "expected a number of bytes from 1024"),
            (f"{HERE}&largest_message=4194305", "expected 4194304 bytes at most: more may not fit into Pub/Sub"),
            (f"{HERE}&timers=cron", "'cron' is not a valid TimerService"),
            (f"{HERE}&contention=none", "'none' is not a valid ConcurrencyMode"),
            (f"{HERE}&keep_finished=-1", "expected a number of seconds above 0"),
            (f"{HERE}&publish=pubsub", "expected https://HOST"),
        ],
    )
    def test_an_invalid_url_is_a_configuration_error(self, url: str, says: str) -> None:
        with pytest.raises(BackendConfigError, match=says):
            parse_url(url)


class TestOpening:
    @pytest.fixture
    def opened(self, cloud: Cloud, url: GcpUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        backends = list[Any]()

        def open(**options: str) -> Any:
            backends.append(connect(cloud.url(url.collection, **options)))
            return backends[-1]

        yield open
        for each in backends:
            each.close()
            each.close()

    def test_a_backend_opens_by_its_url(self, opened: Callable[..., Any]) -> None:
        backend = opened()
        assert backend.capabilities == {Capability.SCAN}
        backend.store.commit(ADA, stored(1), 0)
        assert [key for key, _ in backend.store.scan()] == [ADA]
        backend.queue.send([message(ADA, "1")])
        (delivery,) = backend.queue.receive(1, 5.0)
        assert delivery.message == message(ADA, "1")
        backend.timers.schedule(timer("t", 4_102_444_800.0))
        backend.timers.cancel("t")

    def test_a_backend_whose_instances_expire_says_so(self, opened: Callable[..., Any]) -> None:
        assert Capability.EXPIRY in opened(keep_finished="60").capabilities

    def test_timers_may_be_swept(self, opened: Callable[..., Any]) -> None:
        backend = opened(timers="sweep", sweep_every="0.1")
        backend.timers.schedule(timer("t", time.time() + 0.5))
        assert ids(backend.queue.receive(1)) == []
        assert ids(backend.queue.receive(1, 10.0)) == ["t"]

    def test_missing_resources_are_configuration_errors(self, opened: Callable[..., Any]) -> None:
        backend = opened(topic="nowhere", subscription="nowhere")
        with pytest.raises(BackendConfigError, match="it does not exist, or not in this project"):
            backend.queue.send([message(ADA, "1")])
        with pytest.raises(
            BackendConfigError, match=r"pulling from projects/.*/subscriptions/nowhere: it does not exist"
        ):
            backend.queue.receive(1)

    def test_a_package_that_is_missing_is_named(
        self, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "google.cloud.tasks_v2.services.cloud_tasks", None)
        with pytest.raises(
            BackendConfigError, match=r"CloudTasks: its package .* Try: pip install 'settled\[gcp-tasks\]'"
        ):
            opened().timers.schedule(timer("t", 4_102_444_800.0))

    def test_without_credentials_nothing_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
        with pytest.raises(AccessDeniedError, match="looking for credentials: there are no valid credentials"):
            connect(HERE)
