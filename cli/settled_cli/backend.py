"""What a command opens: the backend of a URL, the key of a text."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from settled import BackendConfigError, Key, RecordError
from settled.durable import Backend
from settled_cli.errors import UsageError
from settled_runtime import connect


@contextmanager
def opened(url: str | None) -> Generator[Backend]:
    """The backend at `url`, open within this block.

    Raises:
        Misuse: there is no URL, or no backend behind it.
    """
    if not url:
        raise UsageError("no backend is named. Give --backend sqlite:///FILE, or set SETTLED_BACKEND")
    try:
        backend = connect(url)
    except (BackendConfigError, RecordError) as error:
        raise UsageError(str(error)) from error
    try:
        yield backend
    finally:
        backend.close()


def key_of(text: str) -> Key:
    """The key that `text` writes.

    Raises:
        Misuse: it writes none.
    """
    try:
        key = Key.parse(text)
    except ValueError as error:
        raise UsageError(f"{error}, such as signup/ada") from error
    if not key.machine or not key.instance:
        raise UsageError(f"{text!r} is no key: expected MACHINE/INSTANCE, such as signup/ada")
    return key
