"""Push end to end: the tests' Pub/Sub pushes with signed tokens, and real servers run the handler."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import field, frozen

from settled import AccessDeniedError, Key, UnavailableError
from settled.durable import Event, Message, Start, Timer, encode
from settled.durable.malformed import is_malformed
from settled_gcp.clock import ServerTime
from settled_gcp.envelope import timer_to_text, to_text
from settled_gcp.push import PushResponse, push_handler
from settled_gcp.push_auth import CERTIFICATES_TTL, MIN_FETCH_INTERVAL, Caller, TokenVerifier
from settled_gcp.queue import PubSubQueue
from settled_local import MemoryBackend
from settled_runtime import Client, Codec, CodedBackend, CompositeBackend, Encryption, Host
from tests.adapters.gcp.fixtures import PROJECT, pushed
from tests.adapters.gcp.function import AUDIENCE, PUSHER, backend
from tests.adapters.gcp.messaging import Messaging
from tests.adapters.gcp.virtual_time import World, at
from tests.emulators.google_tokens import Signer
from tests.emulators.pubsub import GoogleServer, pubsub
from tests.emulators.running import free_port, running
from tests.support.builders import PATIENCE, timer, until
from tests.support.traced_machine import MACHINE

CALLS: Any = import_module("google.api_core.exceptions")  # they have no types

ROOT = Path(__file__).parents[3]
SOURCE = "tests/adapters/gcp/function.py"
BIN = Path(sys.executable).parent

SERVERS: Mapping[str, list[str]] = {
    "functions-framework": ["functions-framework", "--target=function", f"--source={SOURCE}", "--host=127.0.0.1"],
    "wsgi": ["gunicorn", "tests.adapters.gcp.function:wsgi", "--threads=8"],
    "asgi": ["uvicorn", "tests.adapters.gcp.function:asgi"],
}
"""The commands that serve the handler."""


@frozen
class Service:
    """The handler as a process at `url`, the subscription that pushes to it, and the traces that its effects left."""

    messaging: Messaging
    url: str
    client: Client[Any]
    traces: Path

    def send(self, instance: str, type: str, number: int, **more: Any) -> None:
        self.client.send(instance, {"type": type, "number": number, **more}, message_id=f"{instance}.{number}")

    def taken(self, instance: str) -> list[Any]:
        snapshot = self.client.get(instance)
        return [] if snapshot is None else list(snapshot.context["taken"])

    def performed(self) -> list[str]:
        return self.traces.read_text().splitlines() if self.traces.exists() else []

    def pushes(self) -> int:
        return self.messaging.server.requests().get("push", 0)

    def token(self, **claims: Any) -> str:
        """Return a token as in Pub/Sub's requests, with these changes to its `claims`."""
        return self.messaging.server.token(**{"email": PUSHER, "audience": AUDIENCE, **claims})

    def post(self, body: bytes, token: str | None, method: str = "POST") -> tuple[int, str]:
        """Make a request of one's own. Return the status and the text of the response."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = token if " " in token else f"Bearer {token}"
        request = urllib.request.Request(self.url, data=body if method == "POST" else None, method=method)
        for name, value in headers.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def serving(server: GoogleServer, folder: Path, server_name: str, **variables: str) -> Generator[Service]:
    """Run a service with its own topic."""
    messaging = Messaging.at(server)
    messaging.create_topic()
    messaging.create_task_queue()
    port, records, traces = free_port(), folder / "records.db", folder / "traces"
    environment = {
        **os.environ,
        "NAME": messaging.name,
        "PROJECT": PROJECT,
        "ADDRESS": server.address,
        "URL": server.url,
        "RECORDS": str(records),
        "TRACES": str(traces),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "WORKERS": "1",
        **variables,
    }
    program, *arguments = SERVERS[server_name]
    bind = [f"--bind=127.0.0.1:{port}"] if program == "gunicorn" else [f"--port={port}"]
    served_backend = backend(messaging.name, PROJECT, server.address, server.url, str(records))
    with running([str(BIN / program), *arguments, *bind], port, environment, ROOT):
        url = f"http://127.0.0.1:{port}/"
        token = {"service_account_email": PUSHER, "audience": AUDIENCE}
        messaging.subscribe(
            push_config={"push_endpoint": url, "oidc_token": token},
            retry_policy={"minimum_backoff": timedelta(seconds=0.1), "maximum_backoff": timedelta(seconds=0.5)},
        )
        yield Service(messaging, url, Client(MACHINE, served_backend), traces)
    messaging.unsubscribe()
    served_backend.close()
    messaging.close()


@pytest.fixture(scope="module")
def living() -> Iterator[GoogleServer]:
    """A server on the real clock, as are the services."""
    with pubsub() as server:
        yield server


@pytest.fixture(scope="module", params=SERVERS)
def service(request: pytest.FixtureRequest, living: GoogleServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(living, tmp_path_factory.mktemp(request.param), request.param, ATTEMPTS="20") as service:
        yield service


@pytest.fixture
def function(living: GoogleServer, tmp_path: Path) -> Iterator[Service]:
    """A service for one test, in the functions framework, with three attempts for a message."""
    with serving(living, tmp_path, "functions-framework") as service:
        yield service


class TestEachServer:
    def test_messages_of_many_keys_are_handled_each_key_in_order(self, service: Service) -> None:
        for instance in "abc":
            service.client.start(instance)
        for number in range(6):
            for instance in "abc":
                service.send(instance, "TAKE", number)
        until(lambda: all(len(service.taken(instance)) == 6 for instance in "abc"))
        assert [service.taken(instance) for instance in "abc"] == [list(range(6))] * 3

    def test_a_failed_message_is_pushed_again_before_later_ones(self, service: Service, tmp_path: Path) -> None:
        healed = tmp_path / "healed"
        service.client.start("ada")
        before = service.pushes()
        service.send("ada", "TAKE", 1, until=str(healed))
        service.send("ada", "TAKE", 2)
        until(lambda: service.pushes() >= before + 4)
        assert service.taken("ada") == []
        healed.touch()
        until(lambda: service.taken("ada") == [1, 2])

    def test_only_requests_of_the_subscription_are_accepted(self, service: Service) -> None:
        body = pushed(start("forged"))
        for name, token in forged(service).items():
            status, text = service.post(body, token)
            assert status == 401, (name, text)
            assert AUDIENCE not in text and PUSHER not in text, name
        assert service.client.get("forged") is None
        assert service.post(body, service.token()) == (200, "")
        assert service.client.get("forged") is not None

    def test_an_invalid_push_request_is_not_acknowledged(self, service: Service) -> None:
        for name, body in invalid_bodies().items():
            assert service.post(body, service.token())[0] == 400, name
        assert service.post(b"", service.token(), "GET")[0] == 405

    @pytest.mark.parametrize("data", [b"hello", b"[" * 100_000, b"\xff"])
    def test_a_message_that_is_not_settleds_becomes_a_dead_letter_and_delays_nothing(
        self, service: Service, data: bytes
    ) -> None:
        instance = f"strange-{data[:1].hex()}"
        service.post(pushed(start(instance)), service.token())
        assert service.post(pushed(take(instance, 1), data, messageId=instance), service.token()) == (200, "")
        (letter,) = service.client.dead_letters(instance)
        assert is_malformed(letter.message)
        assert service.post(pushed(take(instance, 1)), service.token())[0] == 200
        assert service.taken(instance) == [1]

    def test_a_message_under_the_ordering_key_of_another_key_becomes_a_dead_letter_there(
        self, service: Service
    ) -> None:
        service.post(pushed(start("owner")), service.token())
        assert service.post(pushed(take("ada", 7), orderingKey="jobs/owner"), service.token())[0] == 200
        (letter,) = service.client.dead_letters("owner")
        assert is_malformed(letter.message)

    def test_a_message_for_an_unknown_machine_is_not_acknowledged(self, service: Service) -> None:
        body = pushed(Message(Key("other", "ada"), "1", "{}"))
        assert service.post(body, service.token())[0] == 503

    def test_a_duplicate_is_acknowledged_and_handled_once(self, service: Service) -> None:
        service.post(pushed(start("twice")), service.token())
        body = pushed(take("twice", 1))
        assert [service.post(body, service.token())[0] for _ in range(2)] == [200, 200]
        assert service.taken("twice") == [1]

    def test_a_key_has_one_turn_at_a_time_and_blocks_no_other(self, service: Service) -> None:
        for instance in ("slow", "quick"):
            service.post(pushed(start(instance)), service.token())
        work = Event({"type": "WORK", "number": 1, "seconds": 2.0})
        with ThreadPoolExecutor() as pool:
            first = pool.submit(service.post, pushed(message("slow", "1", work)), service.token())
            until(lambda: any("jobs/slow/" in line for line in service.performed()))
            assert service.post(pushed(take("slow", 2)), service.token()) == (503, "another request has this key")
            assert service.post(pushed(take("quick", 1)), service.token())[0] == 200
            assert first.result() == (200, "")
        assert service.taken("slow") == ["1"]

    def test_a_timer_fires_through_cloud_tasks_and_the_topic(self, service: Service) -> None:
        service.client.start("bell")
        service.send("bell", "WAIT", 1)
        service.client.wait_for("bell", value="rung", timeout=timedelta(seconds=PATIENCE))

    def test_an_early_timer_is_scheduled_again_and_acknowledged(self, service: Service) -> None:
        early = timer("early", time.time() + 3600.0)
        assert service.post(pushed(early.message, timer_to_text(early)), service.token()) == (200, "")
        request = {"parent": service.messaging.task_queue}
        waiting = service.messaging.tasks.list_tasks(request=request, retry=None, timeout=5.0)
        assert early.due in [pytest.approx(task.schedule_time.timestamp()) for task in waiting]


class TestInTheFunctionsFramework:
    def test_a_poisoned_key_blocks_no_other_and_loses_nothing(self, function: Service) -> None:
        for instance in ("ada", "ben"):
            function.client.start(instance)
        function.send("ada", "TAKE", 1, poison=True)
        function.send("ada", "TAKE", 2)
        function.send("ben", "TAKE", 1)
        until(lambda: function.taken("ben") == [1] and len(function.client.dead_letters("ada")) == 2)
        assert [letter.message.id for letter in function.client.dead_letters("ada")] == ["ada.1", "ada.2"]

    def test_a_process_that_dies_in_an_effect_runs_it_again_under_its_key(self, function: Service) -> None:
        function.client.start("ada")
        function.send("ada", "WORK", 1, dies=True)
        function.send("ada", "TAKE", 2)
        until(lambda: function.taken("ada") == ["1", 2])
        first, second = function.performed()
        assert (first.split()[0], first.split()[1], second.split()[1]) == (second.split()[0], "1", "2")

    def test_an_unfinished_turn_is_released_before_its_request_times_out(
        self, living: GoogleServer, tmp_path: Path
    ) -> None:
        with serving(living, tmp_path, "functions-framework", RESERVE="9.5") as service:
            service.client.start("ada")
            service.send("ada", "WORK", 1, seconds=2.0)
            until(lambda: len(service.performed()) >= 2)
            keys = {line.split()[0] for line in service.performed()}
        assert len(keys) == 1

    def test_without_certificates_no_request_is_accepted(self, living: GoogleServer, tmp_path: Path) -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        with serving(living, tmp_path, "functions-framework", URL=nowhere) as service:
            assert service.post(pushed(start("ada")), service.token())[0] == 503
            assert service.client.get("ada") is None


class TestTheTime:
    """The process, and its clocks, may be suspended between requests; so each request discards the known time."""

    def test_after_a_suspension_it_is_asked_for(self) -> None:
        world, waiting = World(), Waiting()
        clock = world.clock
        clock.observe(at(world.true))
        handler = push_handler(host_over(clock, waiting), audience=AUDIENCE, email=PUSHER)
        wait = Timer("t", start("ada"), world.true + 3600.0)
        body = pushed(wait.message, timer_to_text(wait))
        assert handler.handle_message(body) == PushResponse(HTTPStatus.OK)
        assert waiting.scheduled == [wait]
        world.true += 7200.0
        assert handler.handle_message(body) == PushResponse(HTTPStatus.OK)
        assert waiting.scheduled == [wait]
        assert waiting.records.store.load(Key("jobs", "ada")) is not None

    def test_without_the_time_nothing_is_acknowledged(self) -> None:
        world, waiting = World(fails=CALLS.ServiceUnavailable("not now")), Waiting()
        handler = push_handler(host_over(world.clock, waiting), audience=AUDIENCE, email=PUSHER)
        answer = handler.handle_message(pushed(start("ada")))
        assert (answer.status, "asking Firestore for the time" in answer.text) == (503, True)


class TestDeliveryAttempts:
    """Without a dead-letter policy a request has none: they are estimated by the age of its message."""

    @pytest.mark.parametrize(
        ("age", "attempt", "commits"), [(50.0, None, 1), (70.0, None, 2), (70.0, 1, 1), (50.0, 3, 2)]
    )
    def test_a_message_that_was_delivered_often_is_watched_which_takes_one_commit_more(
        self, age: float, attempt: int | None, commits: int
    ) -> None:
        world, waiting = World(), Waiting()
        world.clock.observe(at(world.true))
        handler = push_handler(host_over(world.clock, waiting), audience=AUDIENCE, email=PUSHER)
        published = datetime.fromtimestamp(world.true - age, UTC).isoformat()
        body: Any = json.loads(pushed(start("ada"), publishTime=published))
        body["deliveryAttempt"] = attempt
        if attempt is None:
            del body["deliveryAttempt"]
        assert handler.handle_message(json.dumps(body).encode()) == PushResponse(HTTPStatus.OK)
        found = waiting.records.store.load(Key("jobs", "ada"))
        assert found is not None and found.version == commits


class TestWithACodec:
    """Requests have messages as they are stored: the handler decodes them, and schedules early ones as they are."""

    def test_a_timer_that_is_not_due_is_scheduled_as_it_is_and_then_taken(self) -> None:
        world, waiting, codec = World(), Waiting(), Encryption({"a": bytes(64)})
        world.clock.observe(at(world.true))
        handler = push_handler(host_over(world.clock, waiting, codec), audience=AUDIENCE, email=PUSHER)
        coded = CodedBackend(MemoryBackend(), codec)
        coded.queue.send([start("ada")])
        (encoded,) = coded.below.queue.receive(1)
        wait = Timer("t", encoded.message, world.true + 3600.0)
        body = pushed(wait.message, timer_to_text(wait))
        assert handler.handle_message(body) == PushResponse(HTTPStatus.OK)
        assert waiting.scheduled == [wait]
        world.true += 7200.0
        assert handler.handle_message(body) == PushResponse(HTTPStatus.OK)
        found = waiting.records.store.load(Key("jobs", "ada"))
        assert found is not None and found.body.startswith(encoded.message.body[:20])


class TestWhatNamesNoInstance:
    """Without a dead-letter topic it is not acknowledged: see `invalid_bodies`."""

    @pytest.mark.parametrize("ordering", ["", "x"])
    def test_is_moved_to_the_dead_letter_topic(
        self, messaging: Messaging, caplog: pytest.LogCaptureFixture, ordering: str
    ) -> None:
        messaging.unsubscribe()
        messaging.subscribe(dead_letter_policy={"dead_letter_topic": messaging.dead_letters()})
        records = MemoryBackend()
        backend = CompositeBackend(records.store, messaging.queue(), records.timers)
        with Host([MACHINE], backend) as host:
            handler = push_handler(host, audience=AUDIENCE, email=PUSHER)
            body = pushed(take("ada", 1), b"hello", orderingKey=ordering)
            assert handler.handle_message(body) == PushResponse(HTTPStatus.OK)
        assert messaging.dead_letters_received() == [(ordering, b"hello")]
        assert "is not settled's and names no instance; it was moved to" in caplog.text


@frozen
class Waiting:
    """Records in memory, and timers that are only recorded."""

    records: MemoryBackend = field(factory=MemoryBackend)
    scheduled: list[Timer] = field(factory=list[Timer])

    def schedule(self, timer: Timer) -> None:
        self.scheduled.append(timer)

    def cancel(self, timer_id: str) -> None: ...


def host_over(clock: ServerTime, waiting: Waiting, codec: Codec | None = None) -> Host:
    """Return a host that sends nothing and is given messages by push alone."""
    unused = cast("Any", None)
    queue = PubSubQueue(unused, cast("Any", Unused()), "topic", "subscription")
    backend = CompositeBackend(waiting.records.store, queue, waiting, clock=clock)
    return Host([MACHINE], backend if codec is None else CodedBackend(backend, codec))


class Unused:
    """A subscriber that must not be called."""

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            pytest.fail(f"{name} was called")

        return fail


class TestTokenVerifier:
    """Google's certificates are fetched when needed, and not at the will of strangers."""

    def test_certificates_are_cached_for_an_hour(self, living: GoogleServer) -> None:
        verifier, passing = self.verifier(living)
        for wait in (0.0, CERTIFICATES_TTL - 1):
            passing[0] += wait
            verifier.check(self.good(living))
        assert living.requests()["GET /certs"] - passing[1] == 1
        passing[0] += 1
        verifier.check(self.good(living))
        until(lambda: living.requests()["GET /certs"] - passing[1] == 2)

    def test_an_unknown_key_id_causes_a_fetch_once_a_minute(self, living: GoogleServer) -> None:
        verifier, passing = self.verifier(living)
        stranger = f"Bearer {Signer('another').token(PUSHER, AUDIENCE)}"
        verifier.check(self.good(living))
        for _ in range(3):
            with pytest.raises(Exception, match="a key that is not Google's"):
                verifier.check(stranger)
        assert living.requests()["GET /certs"] - passing[1] == 1
        passing[0] += MIN_FETCH_INTERVAL
        with pytest.raises(Exception, match="a key that is not Google's"):
            verifier.check(stranger)
        assert living.requests()["GET /certs"] - passing[1] == 2

    @pytest.mark.parametrize("header", ["[]", '"x"', "7", "[" * 100_000, '{"a":' * 2_000 + "1" + "}" * 2_000])
    def test_a_token_of_any_json_is_denied(self, header: str) -> None:
        verifier = TokenVerifier(Caller(AUDIENCE, PUSHER), f"http://127.0.0.1:{free_port()}/certs")
        part = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=")
        with pytest.raises(AccessDeniedError, match="not valid"):
            verifier.check(f"Bearer {part}.{part}.{part}")

    def test_without_certificates_it_is_unavailable(self) -> None:
        verifier = TokenVerifier(Caller(AUDIENCE, PUSHER), f"http://127.0.0.1:{free_port()}/certs")
        with pytest.raises(UnavailableError, match="fetching Google's certificates"):
            verifier.check(f"Bearer {Signer().token(PUSHER, AUDIENCE)}")

    def verifier(self, server: GoogleServer) -> tuple[TokenVerifier, list[float]]:
        """Return a verifier, and a list of its time and of how often certificates were fetched before."""
        passing = [0.0, float(server.requests().get("GET /certs", 0))]
        return TokenVerifier(Caller(AUDIENCE, PUSHER), server.certificates, lambda: passing[0]), passing

    def good(self, server: GoogleServer) -> str:
        return f"Bearer {server.token(PUSHER, AUDIENCE)}"


def message(instance: str, id: str, content: Event | Start) -> Message:
    return Message(Key("jobs", instance), id, encode(content))


def start(instance: str) -> Message:
    return message(instance, "start", Start())


def take(instance: str, number: int) -> Message:
    return message(instance, f"{number}", Event({"type": "TAKE", "number": number}))


def forged(service: Service) -> Mapping[str, str | None]:
    """Return authorization headers that must not be accepted."""
    now = int(time.time())
    good = service.token()
    head, claims, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"1"}').rstrip(b"=").decode()
    other = base64.urlsafe_b64encode(json.dumps({"email": PUSHER, "aud": AUDIENCE}).encode()).rstrip(b"=").decode()
    return {
        "no token": None,
        "an empty one": "Bearer ",
        "no JWT": "Bearer hello",
        "another kind": f"Basic {good}",
        "another audience": service.token(audience="https://other.example"),
        "another issuer": service.token(iss="https://accounts.example.com"),
        "another account": service.token(email="mallory@other.iam.gserviceaccount.com"),
        "an account that is not verified": service.token(email_verified=False),
        "too old": service.token(iat=now - 7200, exp=now - 3600),
        "too new": service.token(iat=now + 3600, exp=now + 7200),
        "signed by another key": Signer("1").token(PUSHER, AUDIENCE),
        "with another key id": Signer("mallory").token(PUSHER, AUDIENCE),
        "not signed": f"{unsigned}.{claims}.",
        "no signature": f"{head}.{claims}.",
        "other claims": f"{head}.{other}.{signature}",
    }


def invalid_bodies() -> Mapping[str, bytes]:
    """Return bodies that are not push requests with a message of settled."""
    ada = take("strange", 1)
    return {
        "nothing": b"",
        "no JSON": b"hello",
        "no message": b"{}",
        "a list": b"[]",
        "a list as its message": b'{"message": []}',
        "a text as its message": b'{"message": "data"}',
        "nested too deeply": b"[" * 100_000,
        "no base64": pushed(ada, data="***"),
        "no time": pushed(ada, publishTime="yesterday"),
        "no id": json.dumps({"message": {"data": base64.b64encode(to_text(ada)).decode()}}).encode(),
        "no ordering key": pushed(ada, orderingKey=""),
        "an ordering key that names no instance": pushed(ada, b"hello", orderingKey="x"),
    }
