"""Authenticate push requests by the OIDC token that Google signs for a push subscription's service account.

A token is valid if Google signed it, it has not expired, its audience is ours, and its account is the subscription's.
All of this must be checked: anyone can obtain tokens signed by Google for their own accounts and audiences.

Google's certificates are cached for an hour. A token with an unknown key id makes them be fetched again, but at most
once a minute, so that forged tokens cannot make us send requests to Google at will.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from attrs import define, field, frozen

from settled.errors import AccessDeniedError, UnavailableError

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
"""URL of Google's certificates, a JSON object by key id."""

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
"""The values that Google documents for a token's ``iss`` claim."""

CERTIFICATES_TTL = 3600.0
"""For how many seconds certificates are cached."""

MIN_FETCH_INTERVAL = 60.0
"""The least number of seconds between two fetches caused by unknown key ids."""

CLOCK_SKEW = 10
"""By how many seconds Google's clock and this machine's may differ."""

TIMEOUT = 5.0
"""The timeout of a fetch, in seconds."""


@frozen
class Caller:
    """The expected audience of tokens, and the e-mail address of the expected service account."""

    audience: str
    email: str


@define(eq=False)
class TokenVerifier:
    """Verifies tokens of `caller` by the certificates at a URL. `clock` counts seconds from an arbitrary start."""

    caller: Caller
    certificates: str = CERTIFICATES
    clock: Callable[[], float] = time.monotonic
    _known: Mapping[str, str] = field(factory=dict[str, str], init=False)
    _fetched: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def check(self, authorization: str | None) -> None:
        """Verify the Authorization header of a request.

        Raises:
            AccessDeniedError: it has no valid token of the expected caller.
            UnavailableError: Google's certificates could not be fetched.
        """
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise AccessDeniedError("there is no token")
        claims = self._claims(token)
        if claims.get("iss") not in ISSUERS:
            raise AccessDeniedError("the token is of another issuer")
        if claims.get("email") != self.caller.email or claims.get("email_verified") is not True:
            raise AccessDeniedError("the token is of another account")

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token after checking its signature, its audience, and that it is valid now."""
        jwt = import_module("google.auth.jwt")  # it has no types
        try:
            key = str(jwt.decode_header(token).get("kid"))
            certificates = self._certificates(key)
            if key not in certificates:
                raise AccessDeniedError("the token is signed with a key that is not Google's")
            claims: Mapping[str, Any] = jwt.decode(
                token, certs=certificates, audience=self.caller.audience, clock_skew_in_seconds=CLOCK_SKEW
            )
        except (ValueError, RecursionError) as error:
            # RecursionError: the JSON in a token is read before its signature is checked, so anyone may nest it deeply.
            raise AccessDeniedError("the token is not valid, or not for this audience") from error
        return claims

    def _certificates(self, key: str) -> Mapping[str, str]:
        with self._lock:
            age = float("inf") if self._fetched is None else self.clock() - self._fetched
            if age >= CERTIFICATES_TTL or (key not in self._known and age >= MIN_FETCH_INTERVAL):
                self._known, self._fetched = fetch_certificates(self.certificates), self.clock()
            return self._known


def fetch_certificates(url: str) -> Mapping[str, str]:
    """Fetch the certificates at `url`.

    Raises:
        UnavailableError: the fetch failed.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            certificates: Mapping[str, str] = json.load(response)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"fetching Google's certificates from {url}: {error}") from error
    return certificates
