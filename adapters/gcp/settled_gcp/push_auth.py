"""Who may push: the token that Google signs for a push subscription's service account.

A token is good if Google has signed it, for us (the audience), not long ago, and for the one account that the
subscription pushes as. Anybody can have tokens of Google's for accounts and audiences of their own, so all of it
counts.

Google's certificates are kept for an hour, and fetched again for a key that is not among them; but not more often than
once in a while, so that nobody can make us ask Google at will.
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
"""Where Google's certificates are, by the ids of their keys."""

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
"""What Google calls itself."""

KEPT = 3600.0
"""For how many seconds certificates are kept."""

ASKED_EVERY = 60.0
"""Seconds between two times that Google is asked for a key that is not known."""

SKEW = 10
"""By how many seconds Google's clock and ours may differ."""

TIMEOUT = 5.0
"""How many seconds Google may take to answer."""


@frozen
class Caller:
    """Who may come in: `email` is that of the service account, `audience` what the subscription's tokens are for."""

    audience: str
    email: str


@define(eq=False)
class TokenVerifier:
    """Lets `caller` in. `certificates` is where Google's are; `clock` counts seconds from anywhere."""

    caller: Caller
    certificates: str = CERTIFICATES
    clock: Callable[[], float] = time.monotonic
    _known: Mapping[str, str] = field(factory=dict[str, str], init=False)
    _fetched: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def check(self, authorization: str | None) -> None:
        """Return if this header of a request is the caller's.

        Raises:
            Denied: it is not.
            Unavailable: Google's certificates could not be fetched.
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
        """What a token says that Google has signed for our audience, and that is neither too old nor too new."""
        jwt = import_module("google.auth.jwt")  # it has no types
        try:
            key = str(jwt.decode_header(token).get("kid"))
            certificates = self._certificates(key)
            if key not in certificates:
                raise AccessDeniedError("the token is signed with a key that is not Google's")
            claims: Mapping[str, Any] = jwt.decode(
                token, certs=certificates, audience=self.caller.audience, clock_skew_in_seconds=SKEW
            )
        except ValueError as error:
            raise AccessDeniedError("the token is not valid, or not for this audience") from error
        return claims

    def _certificates(self, key: str) -> Mapping[str, str]:
        with self._lock:
            age = float("inf") if self._fetched is None else self.clock() - self._fetched
            if age >= KEPT or (key not in self._known and age >= ASKED_EVERY):
                self._known, self._fetched = fetched(self.certificates), self.clock()
            return self._known


def fetched(url: str) -> Mapping[str, str]:
    """The certificates at `url`.

    Raises:
        Unavailable: they could not be had.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            found: Mapping[str, str] = json.load(answer)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"fetching Google's certificates from {url}: {error}") from error
    return found
