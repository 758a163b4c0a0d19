"""Translate the errors of Google's clients into the errors of the ports.

A table maps gRPC's statuses. After any other status the request may have been carried out; a read is safe to repeat in
any case. `UNAVAILABLE` is ambiguous: gRPC uses it both for a connection that could not be made and for one that broke
after the request was sent. Only its text tells them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    CredentialsError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)

Translation = tuple[type[SettledError], str]

_STATUSES: Mapping[str, Translation] = {
    "ABORTED": (UnavailableError, "another request is changing it"),
    "RESOURCE_EXHAUSTED": (UnavailableError, "it is throttling requests"),
    "PERMISSION_DENIED": (
        AccessDeniedError,
        "these credentials lack the permission to do this: see the roles in docs/gcp.md",
    ),
    # Wrong ones fail before a request is made: Google's client exchanges them for a token first.
    "UNAUTHENTICATED": (CredentialsError, "the token of these credentials is expired or was revoked"),
    "NOT_FOUND": (BackendConfigError, "it does not exist, or not in this project"),
    "ALREADY_EXISTS": (BackendConfigError, "it exists already"),
    "FAILED_PRECONDITION": (BackendConfigError, "it is not set up for this"),
    "INVALID_ARGUMENT": (BackendConfigError, "it was refused"),
    "OUT_OF_RANGE": (BackendConfigError, "it was refused"),
    "UNIMPLEMENTED": (BackendConfigError, "it cannot do this"),
}
"""The outcome is unknown after the others: CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, DATA_LOSS, UNAVAILABLE."""

_NOT_SENT = ("failed to connect", "connections to all backends failing", "DNS resolution failed")
"""Parts of gRPC's messages for a request that was not sent: nothing happened."""

_NO_TOKEN = "Getting metadata from plugin failed"
"""A part of gRPC's message if a token could not be refreshed, so that nothing was sent. The status is UNAVAILABLE."""

_TOO_LARGE = (
    "too large",
    "too big",
    "larger than max",
    "longer than",
    "maximum entity size",
    "exceeds the maximum",
    "exceeds maximum",
)
"""Parts of Google's messages about sizes, which have the general statuses INVALID_ARGUMENT and RESOURCE_EXHAUSTED."""


@contextmanager
def translated(operation: str, repeatable: bool = False, races: Collection[str] = ()) -> Generator[None]:
    """Raise the port's error for an error of Google's clients in this block.

    Args:
        operation: what is tried, for the message, such as ``publishing to TOPIC``.
        repeatable: the call may be repeated whatever became of it, as a read may: then no outcome is unknown.
        races: statuses, such as ``FAILED_PRECONDITION``, by which this call fails if another commit came first.

    Raises:
        ConflictError, UnavailableError, OutcomeUnknownError, TooLargeError, CredentialsError, AccessDeniedError,
            BackendConfigError: the translation; Google's error is its ``__cause__``. Exceptions that are not Google's
            are raised unchanged.
    """
    try:
        yield
    except Exception as error:
        translation = _port_error(error, operation, repeatable, races)
        if translation is None:
            raise
        raise translation from error


def status_of(error: BaseException) -> str:
    """Return the name of the gRPC status of `error`; empty if it is not an error of Google's clients."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 (slow to import, and seldom needed)

    code: Any = getattr(error, "grpc_status_code", None) if isinstance(error, GoogleAPICallError) else None
    return "" if code is None else str(code.name)


def _port_error(error: Exception, operation: str, repeatable: bool, races: Collection[str]) -> SettledError | None:
    from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError  # noqa: PLC0415 (as above)

    status, text = status_of(error), str(error)
    if isinstance(error, TransportError):
        return UnavailableError(f"{operation}: there was no answer to a request for credentials ({text})")
    if isinstance(error, RefreshError) or _NO_TOKEN in text:
        return CredentialsError(f"{operation}: these credentials are expired or could not be refreshed ({text})")
    if isinstance(error, GoogleAuthError):
        return AccessDeniedError(f"{operation}: there are no valid credentials ({text})")
    if not status:
        return None
    if status in races:
        return ConflictError(f"{operation}: another commit came first ({text})")
    if status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and any(part in text for part in _TOO_LARGE):
        return TooLargeError(f"{operation}: {text}")
    if status in _STATUSES:
        kind, explanation = _STATUSES[status]
        return kind(f"{operation}: {explanation} ({text})")
    if status == "UNAVAILABLE" and any(part in text for part in _NOT_SENT):
        return UnavailableError(f"{operation}: there was no answer ({text})")
    return (
        UnavailableError(f"{operation}: it failed ({text})")
        if repeatable
        else OutcomeUnknownError(f"{operation}: it may have happened ({text})")
    )
