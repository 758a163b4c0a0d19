"""Translate botocore's errors into the errors of the ports.

A table maps AWS's error codes, among them every one that AWS's own models name for a request that is made here. The
HTTP status decides about any other code: after 4xx nothing happened; after 5xx, as after a lost response, the request
may have been carried out. A failed read is safe to repeat in any case.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions
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
    CredentialsError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)

Translation = tuple[type[SettledError], str]

_UNCERTAIN: Translation = (OutcomeUnknownError, "it may have happened")
_REFUSED: Translation = (BackendConfigError, "it was refused")
_EXPIRED = "these credentials are expired or could not be refreshed"

_TABLE: Mapping[Translation, str] = {
    (ConflictError, "another commit came first"): "ConditionalCheckFailedException",
    (UnavailableError, "another transaction is under way"): "TransactionConflictException"
    " TransactionInProgressException",
    # EventBridge Scheduler: concurrent changes of one schedule. (`timers` handles "it exists already" before this.)
    (UnavailableError, "another request is changing it"): "ConflictException",
    (UnavailableError, "another region is changing it: settled does not work on a global table"): (
        "ReplicatedWriteConflictException"
    ),
    (UnavailableError, "it is throttling requests"): "ThrottlingException Throttling RequestThrottled"
    " ThrottledException TooManyRequestsException RequestLimitExceeded ProvisionedThroughputExceededException",
    (UnavailableError, "KMS is throttling requests"): "KmsThrottled KMS.ThrottlingException",
    (UnavailableError, "too many of its messages are in flight"): "OverLimit",
    _UNCERTAIN: "InternalServerError InternalServerException InternalFailure InternalError ServiceUnavailable"
    " ServiceUnavailableException RequestTimeout RequestTimeoutException",
    (CredentialsError, _EXPIRED): "ExpiredToken ExpiredTokenException RequestExpired",
    (AccessDeniedError, "these credentials lack the permission to do this: examples/aws-signup has the policies"): (
        "AccessDenied AccessDeniedException"
    ),
    (AccessDeniedError, "these credentials lack the permission to use the key that encrypts it"): (
        "KmsAccessDenied KMS.AccessDeniedException"
    ),
    (AccessDeniedError, "these credentials are invalid"): "InvalidClientTokenId InvalidSignatureException"
    " IncompleteSignature MissingAuthenticationToken NotAuthorized SignatureDoesNotMatch UnrecognizedClientException",
    (BackendConfigError, "the key that encrypts it cannot be used"): "KmsDisabled KMS.DisabledException"
    " KmsInvalidState KMS.InvalidStateException KmsNotFound KMS.NotFoundException"
    " KmsInvalidKeyUsage KMS.InvalidKeyUsage KMS.InvalidKeyUsageException KmsOptInRequired KMS.OptInRequired",
    (BackendConfigError, "it does not exist, or not in this region and account"): "ResourceNotFoundException"
    " QueueDoesNotExist NonExistentQueue InvalidAddress",
    (BackendConfigError, "a quota of this account is used up: have it raised"): "ServiceQuotaExceededException",
    (BackendConfigError, "it is not used over HTTPS"): "InvalidSecurity",
    (BackendConfigError, "delete its local secondary indexes: they limit what one key may hold"): (
        "ItemCollectionSizeLimitExceededException"
    ),
    (TooLargeError, "larger than one request may be"): "BatchRequestTooLong",
    # The fault is in the request. `_TOO_LARGE` finds those among them that are about a size.
    _REFUSED: "ValidationException ValidationError InvalidParameterValue InvalidMessageContents InvalidAttributeName"
    " UnsupportedOperation TooManyEntriesInBatchRequest EmptyBatchRequest BatchEntryIdsNotDistinct InvalidBatchEntryId"
    " TransactionCanceledException IdempotentParameterMismatchException",
}
"""AWS's codes by what they mean."""

CODES: Mapping[str, Translation] = {code: meaning for meaning, codes in _TABLE.items() for code in codes.split()}
"""The meaning of each code. SQS's older codes have a prefix before these: ``AWS.SimpleQueueService.``."""

_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
"""Errors before the request was sent: nothing happened, so the outcome is known."""

_NO_CREDENTIALS_FOUND = (NoAuthTokenError, NoCredentialsError, PartialCredentialsError)
"""Errors of looking for credentials on this machine. Any other error without a response is the configuration's."""

_NOT_REFRESHED = (
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
    getattr(exceptions, "LoginError", SSOError),  # of `aws login`, which older versions of botocore do not know
)
"""Errors of refreshing credentials: whoever signs in again, or whatever hands them out, mends them."""

_STILL_EXPIRED = "still expired"
"""A part of the RuntimeError that botocore raises if it is handed credentials that have expired already."""

_REFRESHES = ("AssumeRole", "GetRoleCredentials", "CreateToken", "CreateOAuth2Token")
"""How the names of the operations begin by which botocore refreshes credentials, before the request itself is sent."""

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
        ConflictError, UnavailableError, OutcomeUnknownError, TooLargeError, CredentialsError, AccessDeniedError,
            BackendConfigError: the translation; botocore's error is its ``__cause__``.
    """
    try:
        yield
    except ClientError as error:
        raise _from_response(error, operation, repeatable) from error
    except BotoCoreError as error:
        raise _without_response(error, operation, repeatable) from error
    except RuntimeError as error:
        if _STILL_EXPIRED not in str(error):
            raise
        raise CredentialsError(f"{operation}: {_EXPIRED} ({error})") from error


def code_of(error: ClientError) -> str:
    """Return AWS's error code; empty if there is none."""
    return str(_error_fields(error).get("Code", ""))


def refused_item(error: BaseException | None) -> Mapping[str, Any] | None:
    """Return the item that DynamoDB found where a condition failed, if `error` has one."""
    if not isinstance(error, ClientError):
        return None
    response: Any = error.response
    # Of a transaction there is one reason for each item.
    places: tuple[Mapping[str, Any], ...] = (response, *response.get("CancellationReasons", ()))
    return next((each["Item"] for each in places if each.get("Item")), None)


def error_for_code(code: str, text: str, operation: str, may_have_happened: bool) -> SettledError:
    """Return the port's error for AWS's `code` and message `text`.

    For a code that the table does not list, `may_have_happened` decides whether the outcome is unknown.
    """
    if any(part in text for part in _TOO_LARGE):
        return TooLargeError(f"{operation}: {text}")
    kind, explanation = _meaning(code) or (_UNCERTAIN if may_have_happened else _REFUSED)
    return kind(f"{operation}: {explanation} ({code}: {text})")


def _meaning(code: str) -> Translation | None:
    return CODES.get(code.removeprefix("AWS.SimpleQueueService."))


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
    translation = error_for_code(code, text, operation, may_have_happened=failed)
    if error.operation_name.startswith(_REFRESHES) and not isinstance(translation, AccessDeniedError):
        return CredentialsError(f"{operation}: {_EXPIRED} ({code}: {text})")
    if repeatable and isinstance(translation, OutcomeUnknownError):
        return UnavailableError(f"{operation}: it failed ({code}: {text})")
    return translation


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
    if isinstance(error, _NOT_REFRESHED):
        return CredentialsError(f"{operation}: {_EXPIRED} ({error})")
    return BackendConfigError(f"{operation}: {error}")
