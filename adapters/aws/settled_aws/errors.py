"""Translate botocore's errors into the errors of the ports.

A table maps AWS's error codes. The HTTP status decides about codes that it does not list: after 4xx nothing happened;
after 5xx, as after a lost response, the request may have been carried out. A failed read is safe to repeat in any case.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
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

Translation = tuple[type[SettledError], str]

_THROTTLED: Translation = (UnavailableError, "it is throttling requests")
_NO_PERMISSION: Translation = (
    AccessDeniedError,
    "these credentials lack the permission to do this: examples/aws-signup has the policies",
)
_INVALID_CREDENTIALS: Translation = (AccessDeniedError, "these credentials are invalid or expired")
_NOT_FOUND: Translation = (BackendConfigError, "it does not exist, or not in this region and account")

_CODES: Mapping[str, Translation] = {
    "ConditionalCheckFailedException": (ConflictError, "another commit came first"),
    "TransactionConflictException": (UnavailableError, "another transaction is under way"),
    "TransactionInProgressException": (UnavailableError, "another transaction is under way"),
    # EventBridge Scheduler: concurrent changes of one schedule. (`timers` handles "it exists already" before this.)
    "ConflictException": (UnavailableError, "another request is changing it"),
    "ThrottlingException": _THROTTLED,
    "Throttling": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "ThrottledException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "KmsThrottled": _THROTTLED,
    "OverLimit": (UnavailableError, "too many of its messages are in flight"),
    "AWS.SimpleQueueService.OverLimit": (UnavailableError, "too many of its messages are in flight"),
    "ServiceQuotaExceededException": (BackendConfigError, "a quota of this account is used up: have it raised"),
    "BatchRequestTooLong": (TooLargeError, "larger than one request may be"),
    "AWS.SimpleQueueService.BatchRequestTooLong": (TooLargeError, "larger than one request may be"),
    "AccessDenied": _NO_PERMISSION,
    "AccessDeniedException": _NO_PERMISSION,
    "KmsAccessDenied": _NO_PERMISSION,
    "ExpiredToken": _INVALID_CREDENTIALS,
    "ExpiredTokenException": _INVALID_CREDENTIALS,
    "InvalidClientTokenId": _INVALID_CREDENTIALS,
    "InvalidSignatureException": _INVALID_CREDENTIALS,
    "MissingAuthenticationToken": _INVALID_CREDENTIALS,
    "UnrecognizedClientException": _INVALID_CREDENTIALS,
    "ResourceNotFoundException": _NOT_FOUND,
    "QueueDoesNotExist": _NOT_FOUND,
    "AWS.SimpleQueueService.NonExistentQueue": _NOT_FOUND,
}

_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
"""Errors before the request was sent: nothing happened, so the outcome is known."""

_NO_CREDENTIALS_FOUND = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
"""Errors of looking for credentials on this machine. Any other error without a response is the configuration's."""

_TOO_LARGE = (
    "Item size",
    "must be shorter than",
    "exceeded the maximum allowed size",
    "payload size cannot exceed",
    "aggregate size of the items in the transaction",
    "Member must have length less than or equal to",
    "otal request size",
)
"""Parts of AWS's messages about sizes. AWS gives such errors general codes, such as ValidationException."""


@contextmanager
def translated(operation: str, repeatable: bool = False) -> Generator[None]:
    """Raise the port's error for an error of botocore in this block.

    Args:
        operation: what is tried, for the message, such as ``receiving from QUEUE``.
        repeatable: the call may be repeated whatever became of it, as a read may: then no outcome is unknown.

    Raises:
        ConflictError, UnavailableError, OutcomeUnknownError, TooLargeError, AccessDeniedError, BackendConfigError: the
            translation; botocore's error is its ``__cause__``.
    """
    try:
        yield
    except ClientError as error:
        raise _from_response(error, operation, repeatable) from error
    except BotoCoreError as error:
        raise _without_response(error, operation, repeatable) from error


def code_of(error: ClientError) -> str:
    """Return AWS's error code; empty if there is none."""
    return str(_error_fields(error).get("Code", ""))


def error_for_code(code: str, text: str, operation: str, may_have_happened: bool) -> SettledError:
    """Return the port's error for AWS's `code` and message `text`.

    For a code that the table does not list, `may_have_happened` decides whether the outcome is unknown.
    """
    if any(part in text for part in _TOO_LARGE):
        return TooLargeError(f"{operation}: {text}")
    kind, explanation = _CODES.get(
        code,
        (OutcomeUnknownError, "it may have happened") if may_have_happened else (BackendConfigError, "it was refused"),
    )
    return kind(f"{operation}: {explanation} ({code}: {text})")


def _error_fields(error: ClientError) -> Mapping[str, Any]:
    response: Mapping[str, Any] = error.response
    fields: Mapping[str, Any] = response.get("Error", {})
    return fields


def _from_response(error: ClientError, operation: str, repeatable: bool) -> SettledError:
    response: Mapping[str, Any] = error.response
    code, text = code_of(error), str(_error_fields(error).get("Message", ""))
    if code == "TransactionCanceledException":
        return _transaction_canceled(response.get("CancellationReasons", ()), text, operation)
    failed = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)) >= 500
    if failed and repeatable and code not in _CODES:
        return UnavailableError(f"{operation}: it failed ({code}: {text})")
    return error_for_code(code, text, operation, may_have_happened=failed)


def _transaction_canceled(reasons: Any, text: str, operation: str) -> SettledError:
    codes = {reason.get("Code") for reason in reasons}  # DynamoDB gives one reason for each item
    # A failed condition first: a retry cannot succeed any more, even if another item only had a transient conflict.
    if "ConditionalCheckFailed" in codes:
        return ConflictError(f"{operation}: another commit came first ({text})")
    if codes & {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}:
        return UnavailableError(f"{operation}: another transaction is under way, or it is throttling requests ({text})")
    details = f"{text} {[dict(reason) for reason in reasons]}"
    return error_for_code("TransactionCanceledException", details, operation, may_have_happened=False)


def _without_response(error: BotoCoreError, operation: str, repeatable: bool) -> SettledError:
    if isinstance(error, _NOT_SENT):
        return UnavailableError(f"{operation}: there was no answer ({error})")
    if isinstance(error, HTTPClientError):
        kind = UnavailableError if repeatable else OutcomeUnknownError
        return kind(f"{operation}: the answer was lost ({error})")
    if isinstance(error, _NO_CREDENTIALS_FOUND):
        return AccessDeniedError(f"{operation}: {error}")
    return BackendConfigError(f"{operation}: {error}")
