"""The sign-up example on Google Cloud, with workers that pull and with a function behind a push subscription."""

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


def test_with_processes_that_pull(cloud: Cloud, url: GcpUrl) -> None:
    command = [
        sys.executable,
        "-m",
        "settled_cli",
        "run",
        "examples/signup",
        "--backend",
        cloud.url(url.collection),
    ]
    environment = {**os.environ, **cloud.environment}
    played = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stderr
    assert "Ada is active" in played.stdout


@frozen
class Signup:
    """The running example: the web application at `web`, the push function at `push`, and a mail server."""

    web: str
    push: str
    mail: MailServer
    cloud: Cloud
    url: GcpUrl

    def asked(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Make a GET, or a POST of `body`, to the web application. Return the status and the response."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"{self.web}{path}", data, {"content-type": "application/json"})) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def forged(self, token: str | None) -> int:
        """Return the status of a push request that does not come from Pub/Sub."""
        headers = {"content-type": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})
        try:
            with urlopen(Request(self.push, b'{"message": {"data": ""}}', headers)) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def timers(self) -> int:
        return len(list(self.cloud.tasks.list_tasks(request={"parent": self.url.tasks_name})))


@pytest.fixture
def signup(cloud: Cloud) -> Iterator[Signup]:
    url, web_port, push = cloud.gcp_url(fresh_name()), free_port(), free_port()
    with mail_server() as mail:
        environment = {
            **os.environ,
            **cloud.environment,
            "SETTLED_URL": cloud.url(url.collection),
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
            running([str(BIN / web[0]), *web[1:], f"--port={web_port}"], web_port, environment, ROOT),
        ):
            push_url = f"http://127.0.0.1:{push}/"
            token = {"service_account_email": PUSHER, "audience": AUDIENCE}
            create(
                cloud,
                url,
                enable_exactly_once_delivery=False,
                push_config={"push_endpoint": push_url, "oidc_token": token},
                retry_policy={"minimum_backoff": timedelta(seconds=0.1), "maximum_backoff": timedelta(seconds=1)},
            )
            yield Signup(f"http://127.0.0.1:{web_port}", push_url, mail, cloud, url)
            cloud.subscriber.delete_subscription(request={"subscription": url.subscription_name})


def test_from_the_form_to_the_click(signup: Signup) -> None:
    assert signup.asked("/signups/ada")[0] == 404
    waiting = {"value": {"waitingForCode": "codeSent"}, "status": "active"}
    assert signup.asked("/signups/ada", {"email": "ada@example.org"}) == (200, waiting)
    until(lambda: signup.timers() == 1)  # it follows the commit
    (code,) = re.findall(r"\d{6}", str(signup.mail.mails[0]["Subject"]))
    assert signup.asked("/signups/ada/verify?code=no", {})[0] == 409
    for token in (None, signup.cloud.server.token(PUSHER, "another"), signup.cloud.server.token("me@x", AUDIENCE)):
        assert signup.forged(token) == 401
    active = (200, {"value": "active", "status": "done"})
    assert signup.asked(f"/signups/ada/verify?code={code}", {}) == active
    assert signup.asked("/signups/ada") == active
    until(lambda: signup.timers() == 0)
    assert len(signup.mail.mails) == 1
