"""Translation of Redis's errors into those of the ports.

A server that answers with an error has done nothing: each list of operations is one script, and Redis refuses a script
before its first write. Only a connection that breaks between a request and its answer leaves it open whether it
happened.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis import exceptions

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendReplacedError,
    RecordError,
    SettledError,
    UnavailableError,
)

REPLACED = (
    "these are not the keys that were opened: the server was emptied, restored or replaced since. End all processes "
    "that use it, see docs/backup.md, and start them again"
)
"""The meaning of an epoch that is not the one that was found when the key space was opened."""

_BY_CLASS: Mapping[type[Exception], tuple[type[SettledError], str]] = {
    exceptions.AuthenticationWrongNumberOfArgsError: (AccessDeniedError, "it refused the user or the password"),
    exceptions.AuthenticationError: (AccessDeniedError, "it refused the user or the password"),
    exceptions.NoPermissionError: (
        AccessDeniedError,
        "this user may not do that: see docs/redis.md for what settled needs",
    ),
    exceptions.BusyLoadingError: (UnavailableError, "it is still reading its data"),
    exceptions.ReadOnlyError: (UnavailableError, "it is a replica: another server was promoted, or is about to be"),
    exceptions.OutOfMemoryError: (UnavailableError, "it is out of memory: raise its maxmemory"),
    exceptions.MasterDownError: (UnavailableError, "it is a replica that has lost its primary"),
    exceptions.ClusterDownError: (UnavailableError, "the cluster is down"),
    exceptions.TryAgainError: (UnavailableError, "the slot is being moved to another server"),
    exceptions.MovedError: (UnavailableError, "the slot has been moved to another server"),
    exceptions.AskError: (UnavailableError, "the slot is being moved to another server"),
}
"""By redis-py's class; the first that fits, if no text does."""

_BY_FIRST_WORD: Mapping[str, tuple[type[SettledError], str]] = {
    "MISCONF": (UnavailableError, "it cannot write to its disk"),
    "NOREPLICAS": (UnavailableError, "it has fewer replicas than min-replicas-to-write requires"),
    "BUSY": (UnavailableError, "another script has been running too long"),
    "UNBLOCKED": (UnavailableError, "it became a replica during the wait"),
    "NOTBUSY": (UnavailableError, "a script was stopped"),
    "REPLACED": (BackendReplacedError, REPLACED),
    "WRONGTYPE": (RecordError, "a key there is not as settled made it: use another prefix"),
    "NOPROTO": (BackendConfigError, "it does not speak a protocol that redis-py does"),
}
"""By the first word of the answer, for those that have no class in redis-py."""

_BY_TEXT: Mapping[str, tuple[type[SettledError], str]] = {
    "max number of clients reached": (UnavailableError, "it has too many clients: raise its maxclients"),
    "unknown command": (BackendConfigError, "it does not know a command that settled needs"),
    "DB index is out of range": (BackendConfigError, "it has no such database"),
    "SELECT is not allowed in cluster mode": (BackendConfigError, "a cluster has only the database 0"),
    "invalid username-password pair": (AccessDeniedError, "it refused the user or the password"),
    "without any password configured": (AccessDeniedError, "it has no password, and one was given"),
}
"""By a part of the answer, where that is more specific than redis-py's class."""

CONNECTION_ERRORS = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
"""The errors that redis-py raises when a connection breaks.

Some errors that a server answers are among them: see `is_answer`.
"""


def translated(error: Exception, address: str) -> SettledError:
    """Return the port's error for `error`, which the server at `address` answered, or which prevented the request."""
    kind, meaning = _meaning(error)
    return kind(f"{address}: {meaning} ({_one_line(error)})")


def is_answer(error: Exception) -> bool:
    """Return whether a server answered `error`, so that nothing was done."""
    return isinstance(error, (exceptions.ResponseError, exceptions.BusyLoadingError, exceptions.AuthenticationError))


def _meaning(error: Exception) -> tuple[type[SettledError], str]:
    text = str(error)
    # Texts come first: redis-py raises general classes for some of them, such as ConnectionError for "max number of
    # clients reached".
    for part, meaning in _BY_TEXT.items():
        if part in text:
            return meaning
    for known, meaning in _BY_CLASS.items():
        if isinstance(error, known):
            return meaning
    word = text.partition(" ")[0]
    if word in _BY_FIRST_WORD:
        return _BY_FIRST_WORD[word]
    if isinstance(error, CONNECTION_ERRORS):
        return UnavailableError, "cannot be reached"
    return RecordError, "its keys are not as settled made them"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
