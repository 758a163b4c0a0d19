"""What Google's errors mean to those who call the ports.

A table says who can do something about a status of gRPC. A status that leaves open what happened is `Unknown`, but for
what was only read: that can be tried again. `UNAVAILABLE` is such a status, too: gRPC says it of a connection that was
never made and of one that broke after the request had gone out, and only its text tells them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)

Meaning = tuple[type[SettledError], str]

_STATUSES: Mapping[str, Meaning] = {
    "ABORTED": (UnavailableError, "something else is under way there"),
    "RESOURCE_EXHAUSTED": (UnavailableError, "it is asked too often"),
    "PERMISSION_DENIED": (
        AccessDeniedError,
        "these credentials have no leave to do this: see the roles in docs/gcp.md",
    ),
    "UNAUTHENTICATED": (AccessDeniedError, "these credentials are not valid, or not any more"),
    "NOT_FOUND": (BackendConfigError, "it does not exist, or not in this project"),
    "ALREADY_EXISTS": (BackendConfigError, "it exists already"),
    "FAILED_PRECONDITION": (BackendConfigError, "it is not set up for this"),
    "INVALID_ARGUMENT": (BackendConfigError, "it was refused"),
    "OUT_OF_RANGE": (BackendConfigError, "it was refused"),
    "UNIMPLEMENTED": (BackendConfigError, "it cannot do this"),
}
"""What is not here may have happened: CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, DATA_LOSS, and UNAVAILABLE."""

_NEVER_LEFT = ("failed to connect", "connections to all backends failing", "DNS resolution failed")
"""What gRPC says of a request that was not even sent."""

_TOO_LARGE = ("too large", "too big", "larger than max", "longer than", "maximum entity size", "exceeds the maximum")
"""What Google's messages say about a size where the status says only that something is not valid, or used up."""


@contextmanager
def translated(what: str, repeatable: bool = False, races: Collection[str] = ()) -> Generator[None]:
    """Within this block an error of Google's client is raised as the port's.

    Args:
        what: what was tried, such as ``publishing to TOPIC``.
        reading: it changes nothing, or what it changes may be changed again.
        races: the statuses, such as ``FAILED_PRECONDITION``, that say here that another commit came first.

    Raises:
        Conflict, Unavailable, Unknown, TooLarge, Denied: what the error comes to; it is the ``__cause__``.
    """
    try:
        yield
    except Exception as error:
        meant = _meaning(error, what, repeatable, races)
        if meant is None:
            raise
        raise meant from error


def status_of(error: BaseException) -> str:
    """The name of the gRPC status that `error` stands for; empty if it is not an answer of Google's."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 (only when something is wrong)

    code: Any = getattr(error, "grpc_status_code", None) if isinstance(error, GoogleAPICallError) else None
    return "" if code is None else str(code.name)


def _meaning(error: Exception, what: str, repeatable: bool, races: Collection[str]) -> SettledError | None:
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415 (as above)

    status, text = status_of(error), str(error)
    if isinstance(error, TransportError):
        return UnavailableError(f"{what}: nobody answered a request for credentials ({text})")
    if isinstance(error, GoogleAuthError):
        return AccessDeniedError(f"{what}: there are no valid credentials ({text})")
    if not status:
        return None
    if status in races:
        return ConflictError(f"{what}: another commit came first ({text})")
    if status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and any(part in text for part in _TOO_LARGE):
        return TooLargeError(f"{what}: {text}")
    if status in _STATUSES:
        kind, why = _STATUSES[status]
        return kind(f"{what}: {why} ({text})")
    if status == "UNAVAILABLE" and any(part in text for part in _NEVER_LEFT):
        return UnavailableError(f"{what}: nobody answered ({text})")
    return (
        UnavailableError(f"{what}: it failed ({text})")
        if repeatable
        else OutcomeUnknownError(f"{what}: it may have happened ({text})")
    )
