"""The sign-up on Google Cloud, by its URL alone: with workers that pull, and with functions that are pushed to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from attrs import frozen

from settled_gcp.url import GcpUrl
from tests.adapters.gcp.fixtures import PROJECT, Cloud, create
from tests.emulators.running import free_port, running
from tests.examples.processes import ROOT, MailServer, mail_server
from tests.support.builders import fresh_name, until

BIN = Path(sys.executable).parent
HERE = ROOT / "examples" / "gcp-signup"
AUDIENCE = "signup-push"
PUSHER = f"signup-push@{PROJECT}.iam.gserviceaccount.com"


def test_it_is_played_by_processes_that_pull(cloud: Cloud, where: GcpUrl) -> None:
    command = [sys.executable, "-m", "settled_cli", "run", "examples/signup", "--backend", cloud.url(where.collection)]
    environment = {**os.environ, **cloud.environment}
    played = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stderr
    assert "Ada is active" in played.stdout


@frozen
class Signup:
    """What runs: the door at `door`, the function at `push`, and a mail server."""

    door: str
    push: str
    mail: MailServer
    cloud: Cloud
    where: GcpUrl

    def asked(self, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the answer of a GET, or of a POST of `body`, at the door."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"{self.door}{path}", data, {"content-type": "application/json"})) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def forged(self, token: str | None) -> int:
        """What somebody is answered who pushes by himself."""
        headers = {"content-type": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})
        try:
            with urlopen(Request(self.push, b'{"message": {"data": ""}}', headers)) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def timers(self) -> int:
        return len(list(self.cloud.tasks.list_tasks(request={"parent": self.where.tasks_name})))


@pytest.fixture
def signup(cloud: Cloud) -> Iterator[Signup]:
    where, door, push = cloud.place(fresh_name()), free_port(), free_port()
    with mail_server() as mail:
        environment = {
            **os.environ,
            **cloud.environment,
            "SETTLED_URL": cloud.url(where.collection),
            "SIGNUP_SMTP": mail.address,
            "PUSH_AUDIENCE": AUDIENCE,
            "PUSH_EMAIL": PUSHER,
            "PUSH_CERTIFICATES": cloud.server.certificates,
            "PYTHONPATH": str(ROOT),
            "WORKERS": "1",
        }
        function = ["functions-framework", "--target=push", f"--source={HERE / 'main.py'}", "--host=127.0.0.1"]
        web = ["uvicorn", "--app-dir", str(ROOT / "examples" / "fastapi-signup"), "web:app", "--host=127.0.0.1"]
        with (
            running([str(BIN / function[0]), *function[1:], f"--port={push}"], push, environment, ROOT),
            running([str(BIN / web[0]), *web[1:], f"--port={door}"], door, environment, ROOT),
        ):
            url = f"http://127.0.0.1:{push}/"
            token = {"service_account_email": PUSHER, "audience": AUDIENCE}
            create(
                cloud,
                where,
                enable_exactly_once_delivery=False,
                push_config={"push_endpoint": url, "oidc_token": token},
                retry_policy={"minimum_backoff": timedelta(seconds=0.1), "maximum_backoff": timedelta(seconds=1)},
            )
            yield Signup(f"http://127.0.0.1:{door}", url, mail, cloud, where)
            cloud.subscriber.delete_subscription(request={"subscription": where.subscription_name})


def test_the_walk_from_the_form_to_the_click(signup: Signup) -> None:
    assert signup.asked("/signups/ada")[0] == 404
    waiting = {"value": {"waitingForCode": "codeSent"}, "status": "active"}
    assert signup.asked("/signups/ada", {"email": "ada@example.org"}) == (200, waiting)
    until(lambda: signup.timers() == 1)  # what is owed follows the commit that answers
    (code,) = re.findall(r"\d{6}", str(signup.mail.mails[0]["Subject"]))
    assert signup.asked("/signups/ada/verify?code=no", {})[0] == 409
    for token in (None, signup.cloud.server.token(PUSHER, "another"), signup.cloud.server.token("me@x", AUDIENCE)):
        assert signup.forged(token) == 401
    active = (200, {"value": "active", "status": "done"})
    assert signup.asked(f"/signups/ada/verify?code={code}", {}) == active
    assert signup.asked("/signups/ada") == active
    until(lambda: signup.timers() == 0)
    assert len(signup.mail.mails) == 1
