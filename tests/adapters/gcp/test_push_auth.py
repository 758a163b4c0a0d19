"""Google's certificates are fetched without making any request wait whose key is known, and seldom for strangers."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from settled import AccessDeniedError, UnavailableError
from settled_gcp.push_auth import (
    CERTIFICATES_TTL,
    MAX_CERTIFICATES_AGE,
    MIN_FETCH_INTERVAL,
    RETRY_INTERVAL,
    Caller,
    TokenVerifier,
)
from tests.adapters.gcp.function import AUDIENCE, PUSHER
from tests.emulators.google_tokens import Signer
from tests.support.builders import until

GOOGLE, NEW = Signer("1"), Signer("2")
QUICK = 0.5
"""Seconds in which a request is answered that waits for nothing, on a busy machine."""


class CertificateServer:
    """A server of certificates. `body` is its answer; while `answers` is not set, it accepts requests and is silent."""

    def __init__(self) -> None:
        self.answers, self.requests = threading.Event(), 0
        self.answers.set()
        self.status, self.body = 200, json.dumps(GOOGLE.certificates()).encode()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.requests += 1
                served.answers.wait(30)
                with suppress(OSError):  # the client has given up
                    self.send_response(served.status)
                    self.end_headers()
                    self.wfile.write(served.body)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/certs"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[CertificateServer]:
    server = CertificateServer()
    yield server
    server.close()


class Verifier:
    """A verifier whose clock the test advances."""

    def __init__(self, server: CertificateServer) -> None:
        self.now = 1_000_000.0
        self._verifier = TokenVerifier(Caller(AUDIENCE, PUSHER), server.url, lambda: self.now)

    def check(self, signer: Signer = GOOGLE) -> float:
        """Check a token that `signer` has signed; return how many seconds that took."""
        started = time.monotonic()
        self._verifier.check(f"Bearer {signer.token(PUSHER, AUDIENCE)}")
        return time.monotonic() - started

    def refuse(self, kind: type[Exception] = Exception, id: str = "unknown") -> float:
        """Check a token with an unknown key id, and expect an error."""
        header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "typ": "JWT", "kid": id}).encode()).decode()
        started = time.monotonic()
        with pytest.raises(kind):
            self._verifier.check(f"Bearer {header.rstrip('=')}.e30.AAAA")
        return time.monotonic() - started


class TestWhileGoogleIsSilent:
    def test_strangers_do_not_make_a_known_key_wait(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.answers.clear()
        verifier.now += MIN_FETCH_INTERVAL
        with ThreadPoolExecutor(6) as pool:
            strangers = [pool.submit(verifier.refuse, UnavailableError, f"x{number}") for number in range(6)]
            until(lambda: server.requests == 2)
            assert max(verifier.check() for _ in range(5)) < QUICK
            server.answers.set()
        refused = [stranger.exception() is None for stranger in strangers]
        # All but the one that fetched the certificates, which learned that its key is not Google's.
        assert (server.requests, refused.count(False)) == (2, 1)

    def test_only_one_stranger_waits(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.answers.clear()
        verifier.now += MIN_FETCH_INTERVAL
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(verifier.refuse)
            until(lambda: server.requests == 2)
            assert max(verifier.refuse(UnavailableError, f"x{number}") for number in range(20)) < QUICK
            server.answers.set()
            first.result()
        assert server.requests == 2

    def test_a_known_key_is_accepted_beyond_the_hour_but_not_for_ever(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.answers.clear()
        verifier.now += CERTIFICATES_TTL
        assert verifier.check() < QUICK
        until(lambda: server.requests == 2)
        server.status = 500
        server.answers.set()
        verifier.now += MAX_CERTIFICATES_AGE - CERTIFICATES_TTL
        verifier.refuse(UnavailableError, "1")

    def test_the_first_requests_wait_for_one_fetch(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        server.answers.clear()
        with ThreadPoolExecutor(8) as pool:
            checks = [pool.submit(verifier.check) for _ in range(8)]
            until(lambda: server.requests == 1)
            time.sleep(0.2)
            server.answers.set()
            for check in checks:
                check.result()
        assert server.requests == 1


class TestAFetchThatFails:
    def test_is_not_repeated_at_the_will_of_strangers(self, server: CertificateServer) -> None:
        server.status = 500
        verifier = Verifier(server)
        for wait in (0.0, RETRY_INTERVAL - 0.1, 0.1):
            verifier.now += wait
            for number in range(50):
                verifier.refuse(UnavailableError, f"x{number}")
        assert server.requests == 2

    def test_does_not_say_that_the_key_of_a_token_is_not_googles(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.status = 500
        verifier.now += MIN_FETCH_INTERVAL
        verifier.refuse(UnavailableError)
        verifier.refuse(UnavailableError)
        assert verifier.check() < QUICK
        server.status = 200
        verifier.now += RETRY_INTERVAL
        verifier.refuse(AccessDeniedError)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"1"', b'{"1": 1}', b'{"1": ["x"]}', b"null"])
    def test_is_one_whose_answer_has_no_certificates(self, server: CertificateServer, body: bytes) -> None:
        server.body = body
        with pytest.raises(UnavailableError):
            Verifier(server).check()


class TestANewKeyOfGoogles:
    def test_is_accepted_when_it_appears(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.body = json.dumps({**GOOGLE.certificates(), **NEW.certificates()}).encode()
        verifier.now += MIN_FETCH_INTERVAL
        verifier.check(NEW)
        assert server.requests == 2

    def test_replaces_the_old_ones_after_an_hour(self, server: CertificateServer) -> None:
        verifier = Verifier(server)
        verifier.check()
        server.body = json.dumps(NEW.certificates()).encode()
        verifier.now += CERTIFICATES_TTL
        verifier.check()  # the one that finds them too old does not wait for the new ones
        until(lambda: server.requests == 2)
        until(lambda: _is_denied(verifier))
        verifier.check(NEW)


def _is_denied(verifier: Verifier) -> bool:
    try:
        verifier.check()
    except AccessDeniedError:
        return True
    return False
