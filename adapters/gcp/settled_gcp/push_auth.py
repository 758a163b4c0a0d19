"""Authenticate push requests by the OIDC token that Google signs for a push subscription's service account.

A token is valid if Google signed it, it has not expired, its audience is ours, and its account is the subscription's.
All of this must be checked: anyone can obtain tokens signed by Google for their own accounts and audiences.

The certificates are cached. A request whose key id is known never waits for them: they are fetched anew beside it. Of
requests with unknown key ids, one at a time fetches them, and none after another one has just done so or has failed to.
So whatever strangers send makes no other request wait, and no more than a few requests to Google.
"""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from importlib import import_module
from typing import Any

from attrs import define, field, frozen

from settled.data import is_object
from settled.errors import AccessDeniedError, UnavailableError

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
"""URL of Google's certificates, a JSON object by key id."""

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
"""The values that Google documents for a token's ``iss`` claim."""

CERTIFICATES_TTL = 3600.0
"""After how many seconds certificates are fetched anew."""

MAX_CERTIFICATES_AGE = 6 * 3600.0
"""For how many seconds certificates are used while they cannot be fetched anew: Google's are valid for longer."""

MIN_FETCH_INTERVAL = 60.0
"""The least number of seconds between two fetches caused by unknown key ids."""

RETRY_INTERVAL = 10.0
"""The least number of seconds between a fetch that failed and the next one."""

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
    url: str = CERTIFICATES
    clock: Callable[[], float] = time.monotonic
    _certificates: CertificateCache = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._certificates = CertificateCache(self.url, self.clock)

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
            key = jwt.decode_header(token).get("kid")
            if not isinstance(key, str):
                raise TypeError("the key id is no text")
            certificates = self._certificates.for_key(key)
            if key not in certificates:
                raise AccessDeniedError("the token is signed with a key that is not Google's")
            claims: Mapping[str, Any] = jwt.decode(
                token, certs=certificates, audience=self.caller.audience, clock_skew_in_seconds=CLOCK_SKEW
            )
        except (ValueError, TypeError, RecursionError) as error:
            # The JSON in a token is read before its signature is checked, so anyone may put anything where a text is
            # expected (TypeError), and nest it deeply (RecursionError).
            raise AccessDeniedError("the token is not valid, or not for this audience") from error
        return claims


@define(eq=False)
class CertificateCache:
    """Google's certificates, by key id. Threads may share it; its lock is never held during a fetch."""

    url: str
    clock: Callable[[], float]
    _known: Mapping[str, str] = field(factory=dict[str, str], init=False)
    _fetched: float = field(default=-math.inf, init=False)
    _tried: float = field(default=-math.inf, init=False)
    _is_fetching: bool = field(default=False, init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)

    def for_key(self, id: str) -> Mapping[str, str]:
        """Return the certificates, with that of the key `id` if Google has such a key.

        Raises:
            UnavailableError: they could not be fetched, or, if `id` is unknown, another request is fetching them.
        """
        with self._changed:
            known, age = self._known, self.clock() - self._fetched
            is_usable = age < MAX_CERTIFICATES_AGE
            fetches = (not (is_usable and id in known) or age >= CERTIFICATES_TTL) and self._begin_fetch()
            if not is_usable and not fetches:  # nobody's token can be verified, so they may all wait for the one fetch
                self._changed.wait_for(lambda: not self._is_fetching, TIMEOUT)
        if is_usable and id in known:
            if fetches:
                self._fetch_in_background()
            return known
        if fetches:
            self._fetch()
        return self._latest()

    def _begin_fetch(self) -> bool:
        """Return whether the caller must fetch: nobody else does, and the last one was long enough ago."""
        interval = MIN_FETCH_INTERVAL if self._fetched == self._tried else RETRY_INTERVAL
        if self._is_fetching or self.clock() - self._tried < interval:
            return False
        self._is_fetching = True
        return True

    def _latest(self) -> Mapping[str, str]:
        with self._changed:
            if self._is_fetching or self._fetched < self._tried:
                raise UnavailableError("Google's certificates are not known: try again")
            return self._known

    def _fetch(self) -> None:
        found: Mapping[str, str] | None = None
        try:
            found = fetch_certificates(self.url)
        finally:
            self._end_fetch(found)

    def _end_fetch(self, found: Mapping[str, str] | None) -> None:
        with self._changed:
            self._tried = self.clock()
            if found is not None:
                self._known, self._fetched = found, self._tried
            self._is_fetching = False
            self._changed.notify_all()

    def _fetch_in_background(self) -> None:
        def fetch() -> None:
            with suppress(UnavailableError):  # the old ones are used, and a later request tries again
                self._fetch()

        try:
            threading.Thread(target=fetch, name="settled-certificates", daemon=True).start()
        except RuntimeError:  # there are too many threads
            self._end_fetch(None)


def fetch_certificates(url: str) -> Mapping[str, str]:
    """Fetch the certificates at `url`.

    Raises:
        UnavailableError: the fetch failed.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            certificates: object = json.load(response)
    except (OSError, ValueError, HTTPException) as error:
        raise UnavailableError(f"fetching Google's certificates from {url}: {error}") from error
    if not is_object(certificates) or not all(isinstance(each, str) for each in certificates.values()):
        raise UnavailableError(f"fetching Google's certificates from {url}: the answer has none")
    return certificates
