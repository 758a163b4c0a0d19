"""Pub/Sub and Cloud Tasks on loopback, by a server of our own: Google's emulator keeps no order and pushes no tokens.

Its rules are those that Google documents; `tests.emulators.pubsub_rules` says what they leave out, and
``tests/adapters/gcp/test_pubsub_server.py`` holds it to them. What time it is there is for the tests to say.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.emulators.running import free_port, running

ROOT = Path(__file__).parents[2]


@frozen
class GoogleServer:
    """The server. `address` is where its calls go, as HOST:PORT, and `url` where HTTP does."""

    address: str
    url: str

    @property
    def certificates(self) -> str:
        """Where the certificates are with which its tokens are proven."""
        return f"{self.url}/certs"

    def publish_url(self, topic: str) -> str:
        """What a task calls to publish to `topic`."""
        return f"{self.url}/v1/{topic}:publish"

    def now(self) -> float:
        """The server's time, in seconds since the epoch."""
        return float(self._ask("now"))

    def freeze(self) -> float:
        """Let time stand still, but for `advance`; the time it is."""
        return float(self._ask("freeze", {}))

    def advance(self, seconds: float) -> float:
        """Let time pass, and what is due in it happen; the time it is then."""
        return float(self._ask("advance", {"seconds": seconds}))

    def fail(self, method: str, code: str, times: int = 1, skip: int = 0, done: bool = False) -> None:
        """Let the next `times` calls of `method`, after `skip` more, fail; `done`: what was asked happens before."""
        self._ask("fail", {"method": method, "code": code, "times": times, "skip": skip, "done": done})

    def repeat_acked(self, on: bool) -> None:
        """Whether subscriptions made from now on repeat what was acknowledged behind a message that comes again."""
        self._ask("repeat-acked", {"on": on})

    def token(self, email: str, audience: str, **claims: Any) -> str:
        """A token that Google would sign, with these claims."""
        return str(self._ask("token", {"email": email, "audience": audience, **claims}))

    def outstanding(self, subscription: str) -> int:
        """How many messages of `subscription` are handed out and not acknowledged."""
        return int(self._ask("outstanding", {"subscription": subscription}))

    def requests(self) -> dict[str, int]:
        """How many calls there were so far, by their method; `push` and `dispatch` are the server's own."""
        found: dict[str, int] = self._ask("requests")
        return found

    def _ask(self, what: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"{self.url}/control/{what}", data=body, timeout=10.0) as answer:
            return json.load(answer)


@contextmanager
def pubsub() -> Generator[GoogleServer]:
    """A fresh server."""
    calls, http = free_port(), free_port()
    command = [sys.executable, "-m", "tests.emulators.google_server", str(calls), str(http)]
    with running(command, http, os.environ, ROOT):
        yield GoogleServer(f"127.0.0.1:{calls}", f"http://127.0.0.1:{http}")
