"""What AWS's errors mean to those who call the ports.

A table says who can do something about a code. What no table knows is judged by its HTTP status: 4xx was refused, and
nothing happened; 5xx, or an answer that never came, may have happened. Something that was only read never "happened",
so a read that failed can be tried again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    SSLError,
)

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)

Code = tuple[type[SettledError], str]

_SLOW_DOWN: Code = (UnavailableError, "it is asked too often")
_NO_LEAVE: Code = (
    AccessDeniedError,
    "these credentials have no leave to do this: examples/aws-signup has the policies",
)
_NO_CREDENTIALS: Code = (AccessDeniedError, "these credentials are not valid, or not any more")
_NOT_THERE: Code = (BackendConfigError, "it does not exist, or not in this region and account")

_CODES: Mapping[str, Code] = {
    "ConditionalCheckFailedException": (ConflictError, "another commit came first"),
    "TransactionConflictException": (UnavailableError, "another transaction is under way"),
    "TransactionInProgressException": (UnavailableError, "another transaction is under way"),
    "ConflictException": (UnavailableError, "somebody else is changing it"),
    "ThrottlingException": _SLOW_DOWN,
    "Throttling": _SLOW_DOWN,
    "RequestThrottled": _SLOW_DOWN,
    "ThrottledException": _SLOW_DOWN,
    "TooManyRequestsException": _SLOW_DOWN,
    "RequestLimitExceeded": _SLOW_DOWN,
    "ProvisionedThroughputExceededException": _SLOW_DOWN,
    "KmsThrottled": _SLOW_DOWN,
    "OverLimit": (UnavailableError, "too many of its messages are in flight"),
    "AWS.SimpleQueueService.OverLimit": (UnavailableError, "too many of its messages are in flight"),
    "ServiceQuotaExceededException": (BackendConfigError, "a quota of this account is used up: have it raised"),
    "BatchRequestTooLong": (TooLargeError, "more than one request may carry"),
    "AWS.SimpleQueueService.BatchRequestTooLong": (TooLargeError, "more than one request may carry"),
    "AccessDenied": _NO_LEAVE,
    "AccessDeniedException": _NO_LEAVE,
    "KmsAccessDenied": _NO_LEAVE,
    "ExpiredToken": _NO_CREDENTIALS,
    "ExpiredTokenException": _NO_CREDENTIALS,
    "InvalidClientTokenId": _NO_CREDENTIALS,
    "InvalidSignatureException": _NO_CREDENTIALS,
    "MissingAuthenticationToken": _NO_CREDENTIALS,
    "UnrecognizedClientException": _NO_CREDENTIALS,
    "ResourceNotFoundException": _NOT_THERE,
    "QueueDoesNotExist": _NOT_THERE,
    "AWS.SimpleQueueService.NonExistentQueue": _NOT_THERE,
}

_NEVER_LEFT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
"""With these, the request was not even sent."""

_TOO_LARGE = ("Item size", "must be shorter than", "exceeded the maximum allowed size")
"""What AWS's messages say about a size where the code says only that something is not valid."""


@contextmanager
def translated(what: str, reading: bool = False) -> Generator[None]:
    """Within this block an error of botocore is raised as the port's; `what` says what was tried, `reading` its kind.

    Raises:
        Conflict, Unavailable, Unknown, TooLarge, Denied: what the error comes to; it is the ``__cause__``.
    """
    try:
        yield
    except ClientError as error:
        raise _answered(error, what, reading) from error
    except BotoCoreError as error:
        raise _unanswered(error, what, reading) from error


def code_of(error: ClientError) -> str:
    """The code by which AWS names `error`."""
    return str(_about(error).get("Code", ""))


def meaning(code: str, text: str, what: str, happened: bool) -> SettledError:
    """The port's error for AWS's `code`; `happened`: what no table knows may have happened all the same."""
    if any(part in text for part in _TOO_LARGE):
        return TooLargeError(f"{what}: {text}")
    kind, why = _CODES.get(
        code, (OutcomeUnknownError, "it may have happened") if happened else (BackendConfigError, "it was refused")
    )
    return kind(f"{what}: {why} ({code}: {text})")


def _about(error: ClientError) -> Mapping[str, Any]:
    response: Mapping[str, Any] = error.response
    about: Mapping[str, Any] = response.get("Error", {})
    return about


def _answered(error: ClientError, what: str, reading: bool) -> SettledError:
    response: Mapping[str, Any] = error.response
    code, text = code_of(error), str(_about(error).get("Message", ""))
    if code == "TransactionCanceledException":
        return _canceled(response.get("CancellationReasons", ()), text, what)
    failed = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)) >= 500
    if failed and reading and code not in _CODES:
        return UnavailableError(f"{what}: it failed ({code}: {text})")
    return meaning(code, text, what, happened=failed)


def _canceled(reasons: Any, text: str, what: str) -> SettledError:
    """A transaction names a reason for each of its parts; a lost race goes before what can be tried again."""
    codes = {reason.get("Code") for reason in reasons}
    if "ConditionalCheckFailed" in codes:
        return ConflictError(f"{what}: another commit came first ({text})")
    if codes & {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}:
        return UnavailableError(f"{what}: another transaction is under way, or it is asked too often ({text})")
    return meaning("TransactionCanceledException", f"{text} {[dict(reason) for reason in reasons]}", what, False)


def _unanswered(error: BotoCoreError, what: str, reading: bool) -> SettledError:
    if isinstance(error, _NEVER_LEFT):
        return UnavailableError(f"{what}: nobody answered ({error})")
    if isinstance(error, HTTPClientError):
        kind = UnavailableError if reading else OutcomeUnknownError
        return kind(f"{what}: the answer was lost ({error})")
    return AccessDeniedError(f"{what}: {error}")
