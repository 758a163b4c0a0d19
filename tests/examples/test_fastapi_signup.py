"""The example `fastapi-signup`, with a worker beside it: each route waits for the turn of its event to end."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn

from examples.signup import machine as signup
from settled_runtime import Worker, connect
from tests.examples.processes import ROOT, MailServer, mail_server


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        monkeypatch.setattr(signup, "SMTP", server.address)
        yield server


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mail: MailServer) -> Iterator[str]:
    assert mail.address
    url = f"sqlite:///{tmp_path / 'signup.db'}"
    monkeypatch.setenv("SETTLED_URL", url)
    worker = Worker([signup.machine], connect(url), observers=(), receive_wait=timedelta(seconds=0.1))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_app(), log_level="warning"))
    threads = [threading.Thread(target=worker.run), threading.Thread(target=lambda: server.run([listening]))]
    for thread in threads:
        thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    worker.stop()
    server.should_exit = True
    for thread in threads:
        thread.join()
    listening.close()


def _app() -> Any:
    spec = importlib.util.spec_from_file_location("fastapi_signup", ROOT / "examples" / "fastapi-signup" / "web.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def request(url: str, body: Any = None) -> tuple[int, Any]:
    """Return the status and the answer of a GET, or of a POST with `body`."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, {"content-type": "application/json"})) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_from_the_form_to_the_click(web: str, mail: MailServer) -> None:
    ada = f"{web}/signups/ada"
    assert request(ada)[0] == 404
    waiting = {"value": {"waitingForCode": "codeSent"}, "status": "active"}
    assert request(ada, {"email": "ada@example.org"}) == (200, waiting)
    (code,) = re.findall(r"\d{6}", str(mail.mails[0]["Subject"]))
    with urlopen(f"{ada}/verify?code={code}") as page:
        assert '<form method="post"><button>Yes, I am ada</button></form>' in page.read().decode()
    assert request(ada) == (200, waiting), "a mail program that follows the link has verified nothing"
    status, wrong = request(f"{ada}/verify?code=no", {})
    assert (status, wrong["detail"]["outcome"]) == (409, "rejected")
    assert "answered false" in wrong["detail"]["reason"]
    assert request(f"{ada}/verify?code={code}", {}) == request(ada) == (200, {"value": "active", "status": "done"})


def updates(url: str) -> Iterator[Any]:
    """Yield the data of the server-sent events at `url`."""
    with urlopen(url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream:
            field, _, data = line.decode().partition(": ")
            if field == "data":
                yield json.loads(data)


def test_a_page_follows_a_sign_up_until_it_has_ended(web: str, mail: MailServer) -> None:
    ada = f"{web}/signups/ada"
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(list, updates(f"{ada}/events"))
        request(ada, {"email": "ada@example.org"})
        (code,) = re.findall(r"\d{6}", str(mail.mails[0]["Subject"]))
        request(f"{ada}/verify?code={code}", {})
        seen = following.result(timeout=20)
    assert seen[-1] == {"value": "active", "status": "done"}
    assert seen[0] != seen[-1]
    with urlopen(f"{ada}/live") as page:
        assert "<h1>ada</h1>" in page.read().decode()


def test_many_wait_at_once_and_nobody_is_kept_from_looking(web: str) -> None:
    with ThreadPoolExecutor(50) as threads:
        asking = [
            threads.submit(request, f"{web}/signups/n{number}", {"email": "ada@example.org"}) for number in range(50)
        ]
        slowest = 0.0
        while not all(each.done() for each in asking):
            begun = time.monotonic()
            assert request(f"{web}/signups/nobody")[0] == 404
            slowest = max(slowest, time.monotonic() - begun)
    assert {each.result()[0] for each in asking} == {200}
    assert slowest < 5


def test_a_name_is_escaped(web: str) -> None:
    with urlopen(f"{web}/signups/%3Cb%3Eada/verify?code=1") as page:
        assert "Yes, I am &lt;b&gt;ada" in page.read().decode()


def test_an_invalid_event_is_a_bad_request(web: str) -> None:
    assert request(f"{web}/signups/ada", {"email": "nobody"})[0] == 400
    assert request(f"{web}/signups/ada", {})[0] == 422


def test_a_name_that_is_too_long_is_a_bad_request(web: str) -> None:
    assert request(f"{web}/signups/{'n' * 257}", {"email": "ada@example.org"})[0] == 400


def test_an_event_that_is_too_large_is_refused(web: str) -> None:
    assert request(f"{web}/signups/ada", {"email": f"{'a' * 1024 * 1024}@example.org"})[0] == 413


def test_a_backend_that_fails_is_not_available(web: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "signup.db") as db:
        db.execute("DROP TABLE records")
    db.close()
    assert request(f"{web}/signups/ada") == (503, {"detail": "not available: try again"})
