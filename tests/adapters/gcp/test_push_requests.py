"""Whatever is requested of a push handler, it answers: with 2xx or 4xx, or with 503 if the turn cannot be run now."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from io import BytesIO
from typing import Any, cast
from wsgiref.util import setup_testing_defaults

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from settled import BackendConfigError, Key
from settled.durable import Start, encode
from settled.durable.messages import Message
from settled_gcp import push_handler
from settled_gcp.names import ordering_key
from settled_gcp.push import MAX_BODY_BYTES, PushHandler
from settled_gcp.queue import PubSubQueue
from settled_local import MemoryBackend
from settled_runtime import CompositeBackend, Host
from tests.adapters.gcp.fixtures import pushed
from tests.adapters.gcp.function import AUDIENCE, PUSHER
from tests.emulators.google_tokens import Signer
from tests.support.traced_machine import MACHINE

flask: Any = import_module("flask")  # it has its own types, which say less

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
"""How many requests are tried of each kind: a few seconds' worth, or as many as the environment says."""

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
"""The methods for which the functions framework calls the function."""

SIGNER = Signer("1")
TOKEN = f"Bearer {SIGNER.token(PUSHER, AUDIENCE)}"
ADA = Message(Key("jobs", "ada"), "start", encode(Start()))


@pytest.fixture(scope="module")
def handler() -> Iterator[PushHandler]:
    """A handler over memory, whose certificates come from a server."""
    certificates = json.dumps(SIGNER.certificates()).encode()

    class Certificates(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(certificates)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Certificates)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    memory = MemoryBackend()
    queue = PubSubQueue(cast("Any", Unused()), cast("Any", Unused()), "topic", "subscription")
    with Host([MACHINE], CompositeBackend(memory.store, queue, memory.timers, clock=time.time)) as host:
        yield push_handler(host, audience=AUDIENCE, email=PUSHER, certificates=url)
    server.shutdown()
    server.server_close()


class Unused:
    """A client that must not be called: a message that is pushed is neither pulled, nor acknowledged by a request."""

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            pytest.fail(f"{name} was called")

        return fail


@frozen
class Request:
    """A request; `length` is its Content-Length, None if it has none."""

    method: str
    authorization: str | None
    length: str | None
    body: bytes


def by_function(handler: PushHandler, request: Request) -> tuple[int, Mapping[str, str]]:
    """Make `request` of a Flask application as the functions framework makes one."""
    app = flask.Flask("function")
    app.add_url_rule("/", view_func=lambda: handler.function(flask.request), methods=METHODS)
    return by_application(app, request)


def by_application(application: Any, request: Request) -> tuple[int, Mapping[str, str]]:
    answers: list[tuple[int, Mapping[str, str]]] = []

    def start_response(line: str, headers: list[tuple[str, str]], _: object = None) -> None:
        answers.append((int(line[:3]), dict(headers)))

    b"".join(application(environ_of(request), start_response))
    return answers[0]


def by_wsgi(handler: PushHandler, request: Request) -> tuple[int, Mapping[str, str]]:
    return by_application(handler.wsgi, request)


def by_asgi(handler: PushHandler, request: Request) -> tuple[int, Mapping[str, str]]:
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": request.body}

    async def send(event: Mapping[str, Any]) -> None:
        sent.append(event)

    pairs = {"authorization": request.authorization, "content-length": request.length}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in pairs.items() if value is not None]
    asyncio.run(
        cast("Any", handler.asgi)({"type": "http", "method": request.method, "headers": headers}, receive, send)
    )
    return sent[0]["status"], {name.decode().title(): value.decode() for name, value in sent[0]["headers"]}


def environ_of(request: Request) -> dict[str, Any]:
    environ: dict[str, Any] = {"REQUEST_METHOD": request.method, "wsgi.input": BytesIO(request.body)}
    pairs = {"HTTP_AUTHORIZATION": request.authorization, "CONTENT_LENGTH": request.length}
    environ |= {name: value for name, value in pairs.items() if value is not None}
    setup_testing_defaults(environ)
    return environ


INTERFACES = {"function": by_function, "wsgi": by_wsgi, "asgi": by_asgi}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20)
lengths = (
    st.none()
    | st.sampled_from(["", "0", "5", "-1", "-5", "1_0", "+5", " 5", "x", "\xb2", "9" * 30, "9" * 5000, "1e3", "0x5"])
    | latin
)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


key_ids = st.sampled_from(["1", "2", 1, ["1"], {"1": 1}, None, True])
algorithms: st.SearchStrategy[Any] = st.sampled_from(["RS256", "ES256", "none", "HS256", ["RS256"], {}, 1, None])
jwt_headers = st.fixed_dictionaries({}, optional={"kid": key_ids, "alg": algorithms, "typ": json_values})
tokens = (
    st.builds("{}.{}.{}".format, (jwt_headers | json_values).map(part), json_values.map(part), st.just("AAAA") | latin)
    | latin
    | st.just(TOKEN.partition(" ")[2][:-4])
)
strangers = st.none() | latin | tokens.map("Bearer {}".format) | tokens.map("bearer  {}".format)

message_fields = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["jobs/ada", "jobs/", "/", "none", "other/ada", "jobs/\n", "jobs/\ud800", 7])
        | json_values,
        "id": st.sampled_from(["1", "", "settled:1", "\ud800"]) | json_values,
        "body": st.sampled_from(["", "{}", "[" * 500, encode(Start()), "null"]) | json_values,
        "headers": st.sampled_from([{}, {"a": "b"}, {"A": "b"}, {"a": "\n"}]) | json_values,
        "due": st.sampled_from([0, 1e300, -1, "nan", "inf", "5", True, 10**400, time.time() + 1e6, 1e12]) | json_values,
        "timer": st.just("t") | json_values,
    },
)


def as_data(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def ordered(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a push request with `fields`, under the right ordering key if they have a key."""
    try:
        return {"data": as_data(fields), "orderingKey": ordering_key(Key.parse(fields["key"])), **PUBLISHED}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {"data": as_data(fields), "orderingKey": "jobs/ada", **PUBLISHED}


PUBLISHED = {"publishTime": "2026-01-01T00:00:00Z"}
times = st.sampled_from(["", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z", 0]) | json_values
attempts = st.sampled_from([1, 0, -1, 10**5000, 1.5, "2", "x", None]) | json_values
push_messages = (
    message_fields.map(ordered)
    | st.tuples(message_fields.map(ordered), times).map(lambda found: {**found[0], "publishTime": found[1]})
    | st.fixed_dictionaries({}, optional={"data": json_values})
    | json_values
)
push_bodies = st.fixed_dictionaries({"message": push_messages}, optional={"deliveryAttempt": attempts})
bodies = (
    push_bodies.map(lambda body: json.dumps(body).encode() if "deliveryAttempt" not in body else _dumped(body))
    | json_values.map(lambda body: json.dumps(body).encode())
    | st.binary(max_size=20)
    | st.sampled_from(
        [pushed(ADA), pushed(ADA, b"1e999"), b'{"message": {"orderingKey": "a"}, "deliveryAttempt": 1e999}']
    )
)


def _dumped(body: dict[str, Any]) -> bytes:
    attempt = body["deliveryAttempt"]
    is_large = isinstance(attempt, int) and attempt > 10**4000
    text = json.dumps({**body, "deliveryAttempt": 0 if is_large else attempt})
    return (text.replace('"deliveryAttempt": 0', f'"deliveryAttempt": {"1" * 5000}') if is_large else text).encode()


@pytest.mark.parametrize("interface", INTERFACES)
class TestAnyRequest:
    @settings(max_examples=EXAMPLES)
    @given(method=st.sampled_from(["POST", "GET", "", "post"]) | latin, token=strangers, length=lengths)
    def test_of_a_stranger_is_answered_with_4xx(
        self, handler: PushHandler, interface: str, method: str, token: str | None, length: str | None
    ) -> None:
        status, _ = INTERFACES[interface](handler, Request(method, token, length, pushed(ADA)))
        assert status == 401 or (status == 405 and method != "POST")

    @settings(max_examples=EXAMPLES)
    @given(length=lengths, body=bodies)
    def test_of_pubsub_is_answered_with_200_or_4xx_or_503(
        self, handler: PushHandler, interface: str, length: str | None, body: bytes
    ) -> None:
        for each in {length, str(len(body))}:
            status, headers = INTERFACES[interface](handler, Request("POST", TOKEN, each, body))
            assert status in (200, 400, 413) or (status == 503 and headers["Retry-After"] == "1")

    def test_of_pubsub_starts_an_instance(self, handler: PushHandler, interface: str) -> None:
        sent = Message(Key("jobs", interface), "start", encode(Start()))
        body = pushed(sent)
        assert INTERFACES[interface](handler, Request("POST", TOKEN, str(len(body)), body))[0] == 200
        assert handler.host().backend.store.load(sent.key) is not None

    @pytest.mark.parametrize(
        ("request_of", "status", "header"),
        [
            (Request("GET", None, None, b""), 405, ("Allow", "POST")),
            (Request("POST", None, "-1", b""), 401, ("Www-Authenticate", "Bearer")),
            (Request("POST", TOKEN, "-1", b"{}"), 400, None),
            (Request("POST", TOKEN, "9" * 12, b""), 413, None),
            (Request("POST", TOKEN, "9" * 5000, b""), 400, None),
        ],
    )
    def test_is_answered_by_its_first_fault(
        self, handler: PushHandler, interface: str, request_of: Request, status: int, header: tuple[str, str] | None
    ) -> None:
        found, headers = INTERFACES[interface](handler, request_of)
        assert found == status
        assert header is None or header in {name.title(): value for name, value in headers.items()}.items()


def test_a_body_that_is_larger_than_it_says_is_refused(handler: PushHandler) -> None:
    assert by_asgi(handler, Request("POST", TOKEN, None, b" " * (MAX_BODY_BYTES + 1)))[0] == 413


def test_a_host_that_cannot_be_created_is_503(handler: PushHandler) -> None:
    def create() -> Host:
        raise BackendConfigError("there is no such topic")

    broken = push_handler(create, audience=AUDIENCE, email=PUSHER, certificates=handler.token_verifier.url)
    body = pushed(ADA)
    assert by_wsgi(broken, Request("POST", TOKEN, str(len(body)), body))[0] == 503
