"""Pub/Sub and Cloud Tasks on loopback, by our own server: Google's emulator keeps no order and sends no tokens.

It implements what Google documents; `tests.emulators.pubsub_rules` says what it leaves out, and
``tests/adapters/gcp/test_pubsub_server.py`` checks it. Tests control its clock.
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
    """The running server: the gRPC address HOST:PORT, and the URL of its HTTP port."""

    address: str
    url: str

    @property
    def certificates(self) -> str:
        """The URL of the certificates for its tokens."""
        return f"{self.url}/certs"

    def publish_url(self, topic: str) -> str:
        """Return the URL that tasks call to publish to `topic`."""
        return f"{self.url}/v1/{topic}:publish"

    def now(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        return float(self._ask("now"))

    def freeze(self) -> float:
        """Stop the clock; only `advance` moves it then. Return the time."""
        return float(self._ask("freeze", {}))

    def advance(self, seconds: float) -> float:
        """Advance the clock and do what becomes due. Return the new time."""
        return float(self._ask("advance", {"seconds": seconds}))

    def fail(self, method: str, code: str, times: int = 1, skip: int = 0, done: bool = False) -> None:
        """Make the next `times` calls of `method`, after `skip` more, fail; if `done`, after they were carried out."""
        self._ask("fail", {"method": method, "code": code, "times": times, "skip": skip, "done": done})

    def repeat_acked(self, on: bool) -> None:
        """Set whether subscriptions created from now on redeliver acknowledged messages after an earlier one."""
        self._ask("repeat-acked", {"on": on})

    def token(self, email: str, audience: str, **claims: Any) -> str:
        """Return a token as Google signs it, with these claims."""
        return str(self._ask("token", {"email": email, "audience": audience, **claims}))

    def outstanding(self, subscription: str) -> int:
        """Return how many messages of `subscription` are outstanding."""
        return int(self._ask("outstanding", {"subscription": subscription}))

    def requests(self) -> dict[str, int]:
        """Return the number of calls so far, by method; `push` and `dispatch` are the server's own requests."""
        counts: dict[str, int] = self._ask("requests")
        return counts

    def _ask(self, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"{self.url}/control/{path}", data=body, timeout=10.0) as answer:
            return json.load(answer)


@contextmanager
def pubsub() -> Generator[GoogleServer]:
    """Start a new server."""
    calls, http = free_port(), free_port()
    command = [sys.executable, "-m", "tests.emulators.google_server", str(calls), str(http)]
    with running(command, http, os.environ, ROOT):
        yield GoogleServer(f"127.0.0.1:{calls}", f"http://127.0.0.1:{http}")
