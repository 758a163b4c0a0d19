"""Whatever is requested of the HTTP handler, it answers: with 2xx or 4xx, or with 503 if the backend is down."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settled import (
    AccessDeniedError,
    BackendClosedError,
    BackendConfigError,
    Key,
    OutcomeUnknownError,
    SettledError,
    UnavailableError,
    UnsupportedError,
    setup,
)
from settled.durable import Index, Stored
from settled_aws import anyone, http_handler
from settled_aws.http_handler import HttpRequest
from settled_local import MemoryBackend
from settled_runtime import Client, CompositeBackend, Host
from tests.durable.machines import appending

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "600"))
"""How many requests are tried: a few seconds' worth, or as many as the environment says."""


class Context:
    def __init__(self, milliseconds: int = 1_001) -> None:  # a request that waits does so for a millisecond
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


MOVED = setup().machine({"id": "moved", "version": "2", "initial": "a", "states": {"a": {}}})


def backend_with_instances() -> MemoryBackend:
    """Return a backend with an instance that can be read, one whose record is damaged, and one of another version."""
    backend = MemoryBackend()
    Client(appending(), backend).start("ada")
    with Host([appending()], backend, observers=()) as host:
        while deliveries := backend.queue.receive(10):
            host.handle(deliveries)
    good = backend.store.load(Key("list", "ada"))
    assert good is not None
    for key, body in (
        (Key("list", "damaged"), '{"format": 3, "secret": "s3cret-of-the-record"}'),
        (Key("moved", "ada"), good.body),
    ):
        backend.store.commit(key, Stored(1, body, Index("active", (), 0.0)), 0)
    return backend


BACKEND = backend_with_instances()
HANDLER = http_handler([appending(), MOVED], BACKEND, authorize=anyone)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["ada", "damaged", "nobody", "", "a%2Fb", "%ff", "%00", "~", "a/~b", "\ud800", "n" * 300, "%0A"]
)
machines = st.sampled_from(["list", "moved", "other", "", "%", "list%00", "stage/list"])
paths = st.builds("/{}/{}".format, machines, names | st.text(max_size=8)) | st.text(max_size=12)
methods = st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS", "", "get"]) | st.text(max_size=5)
waits = st.sampled_from([None, "", "0", "1", "-1", "1e400", "nan", "inf", "1_0", "x", "0x1", "9" * 400]) | json_values
bodies = (
    st.builds(json.dumps, json_values)
    | st.sampled_from([None, "", "{", '{"type": "ADD", "n": 1}', '{"type": 1}', "[" * 2000, '{"type": "xstate.init"}'])
    | st.sampled_from(['{"type": "ADD", "n": NaN}', '{"type": "A", "type": "B"}', '"\\ud800"', "////", "=", "QUJD"])
    | st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
    | st.text(max_size=12)
)
header_names = st.sampled_from(
    ["Idempotency-Key", "Traceparent", "Settled-Header-", "Settled-Header-Tenant", "settled-header-ä"]
) | st.text(max_size=8)
header_values = st.sampled_from(["", "1", "settled:1", "\n", "\x1b[2J", "x" * 2000]) | json_values
headers = st.dictionaries(header_names, header_values, max_size=4)
http = st.fixed_dictionaries({}, optional={"method": methods | json_values})
events = st.fixed_dictionaries(
    {},
    optional={
        "rawPath": paths | json_values,
        "path": paths | json_values,
        "httpMethod": methods | json_values,
        "requestContext": st.fixed_dictionaries({}, optional={"http": http | json_values}) | json_values,
        "headers": headers | json_values,
        "queryStringParameters": st.fixed_dictionaries({}, optional={"wait": waits}) | json_values,
        "body": bodies | json_values,
        "isBase64Encoded": st.booleans() | json_values,
    },
)
requests: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "rawPath": paths,
        "requestContext": st.fixed_dictionaries({"http": st.fixed_dictionaries({"method": methods})}),
        "headers": headers | st.none(),
        "queryStringParameters": st.fixed_dictionaries({}, optional={"wait": waits}) | st.none(),
        "body": bodies,
        "isBase64Encoded": st.booleans(),
    }
)


@settings(max_examples=EXAMPLES)
@given(event=requests | events | json_values)
def test_every_request_is_answered_with_2xx_or_4xx(event: Any) -> None:
    answer = HANDLER(event, Context())
    assert 200 <= answer["statusCode"] < 500, answer
    assert "s3cret" not in answer["body"]
    body = json.loads(answer["body"])
    assert isinstance(body, dict) and (answer["statusCode"] < 300 or body["error"])
    assert all(isinstance(value, str) and value.isprintable() for value in answer["headers"].values())


def request(method: str, path: str = "/list/ada", **more: Any) -> dict[str, Any]:
    return {"rawPath": path, "requestContext": {"http": {"method": method}}, "body": '{"type": "ADD", "n": 1}', **more}


@pytest.mark.parametrize(
    ("event", "status", "error"),
    [
        (request("GET", "/list/damaged"), 409, "this machine cannot read the instance"),
        (request("GET", "/moved/ada"), 409, "this machine cannot read the instance"),
        (request("GET", "/list/nobody"), 404, "no such instance"),
        (request("GET", "/other/ada"), 404, "no machine 'other'"),
        (request("DELETE"), 405, "'DELETE': expected GET, PUT or POST"),
        (request("PUT", body={"a": 1}), 400, "the body is no text"),
        (request("PUT", queryStringParameters={"wait": "soon"}), 400, "wait"),
        (request("PUT", "/list"), 400, "expected /MACHINE/INSTANCE"),
    ],
)
def test_what_is_wrong_is_said(event: dict[str, Any], status: int, error: str) -> None:
    answer = HANDLER(event, Context())
    assert (answer["statusCode"], error in json.loads(answer["body"])["error"]) == (status, True), answer


def test_a_wait_of_null_is_no_wait() -> None:
    answer = HANDLER(request("PUT", "/list/ben", queryStringParameters={"wait": None}), Context())
    assert answer["statusCode"] == 202


def test_other_methods_are_told_which_are_allowed() -> None:
    assert HANDLER(request("DELETE"), Context())["headers"]["allow"] == "GET, PUT, POST"


def at_once(call: Callable[..., Any], *args: Any) -> Any:
    """Call `call` without the retries that a client makes for some seconds."""
    return call(*args)


class Down:
    """A store and a queue that raise an error whatever they are asked."""

    def __init__(self, error: SettledError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> None:
            raise self._error

        return fail


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize(
    "kind",
    [
        UnavailableError,
        OutcomeUnknownError,
        AccessDeniedError,
        BackendConfigError,
        BackendClosedError,
        UnsupportedError,
    ],
)
def test_a_backend_that_fails_is_503_and_says_nothing_of_it(
    kind: type[SettledError], method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settled_runtime.client.retried", at_once)
    down: Any = Down(kind("arn:aws:secret\nforged"))
    backend = CompositeBackend(down, down, down)
    with caplog.at_level(logging.INFO, "settled"):
        answer = http_handler([appending()], backend, authorize=anyone)(request(method), Context())
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "1")
    assert "arn:aws" not in answer["body"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{method} list/ada: {kind.__name__}: arn:aws:secret\\nforged"
    ]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_the_response_has_the_id_if_the_outcome_cannot_be_read(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settled_runtime.client.retried", at_once)
    up, down = MemoryBackend(), cast("Any", Down(UnavailableError("down")))
    handler = http_handler([appending()], CompositeBackend(down, up.queue, up.timers), authorize=anyone)
    answer = handler(request(method, queryStringParameters={"wait": "1"}), Context(9_000))
    (delivery,) = up.queue.receive(10)
    assert (answer["statusCode"], json.loads(answer["body"])["id"]) == (503, delivery.message.id)


class TestAuthorize:
    """The handler authenticates nobody: it asks this function, before it does anything else."""

    @pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
    @pytest.mark.parametrize("path", ["/list/ada", "/other/ada"])
    def test_a_request_that_it_refuses_is_403_and_changes_nothing(self, method: str, path: str) -> None:
        backend = backend_with_instances()
        handler = http_handler([appending()], backend, authorize=lambda request: False)
        answer = handler(request(method, path, body="{"), Context())
        assert (answer["statusCode"], json.loads(answer["body"])) == (403, {"error": "not allowed"})
        assert not backend.queue.receive(10)

    def test_it_sees_the_request_and_the_event_of_lambda(self) -> None:
        def is_owner(request: HttpRequest) -> bool:
            claims = request.event["requestContext"]["authorizer"]["jwt"]["claims"]
            return bool(request.machine == "list" and claims["sub"] == request.instance)

        handler = http_handler([appending()], BACKEND, authorize=is_owner)
        event = request("GET")
        for name, status in (("ada", 200), ("eve", 403)):
            event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": name}}}
            assert handler(event, Context())["statusCode"] == status
        del event["requestContext"]["authorizer"]

    def test_a_request_on_which_it_raises_is_refused_and_the_error_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(request: HttpRequest) -> bool:
            raise KeyError("4711")

        answer = http_handler([appending()], BACKEND, authorize=broken)(request("GET"), Context())
        assert answer["statusCode"] == 403
        (record,) = caplog.records
        assert record.getMessage().startswith("GET list/ada: authorize failed: KeyError in ")
        assert "4711" not in record.getMessage()

    def test_it_must_be_given(self) -> None:
        with pytest.raises(TypeError, match="authorize"):
            http_handler([appending()], BACKEND)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
