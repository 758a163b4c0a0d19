"""Open the backend of a URL, and parse what names backends and instances."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from settled import BackendRefusedError, Key, RecordError
from settled.durable import Backend
from settled_cli.errors import UsageError
from settled_cli.machines import find_codec
from settled_runtime import connect
from settled_runtime.url import without_credentials


@contextmanager
def open_backend(url: str | None, codec: str | None = None, *, may_be_private: bool = False) -> Generator[Backend]:
    """Connect to the backend at `url`, with the codec that is named ``module:attribute``, and close it at the end.

    Unless it `may_be_private`, it must be one that other processes see, and that outlives this one.

    Raises:
        UsageError: there is no URL, no other process sees this backend, it cannot be used as the URL says, or there is
            no such codec.
    """
    if not url:
        raise UsageError("no backend is named. Give --backend sqlite:///FILE, or set SETTLED_BACKEND")
    if not may_be_private and url.partition(":")[0] == "memory":
        raise UsageError(
            f"{without_credentials(url)} ends with this command, and no other one sees it. Give --backend sqlite:///FILE"
        )
    try:
        backend = connect(url, codec=None if codec is None else find_codec(codec))
    except (BackendRefusedError, RecordError) as error:
        raise UsageError(str(error)) from error
    with backend:
        yield backend


def as_url(text: str) -> str:
    """Return the URL that `text` is, or that of the SQLite file that it names."""
    return text if "://" in text else f"sqlite:///{text}"


def parse_key(text: str) -> Key:
    """Parse ``MACHINE/INSTANCE``.

    Raises:
        UsageError: `text` is not a key.
    """
    # Checked before it is parsed: `Key.parse` accepts empty names, which no instance has.
    machine, separator, instance = text.partition("/")
    if not machine or not separator or not instance:
        raise UsageError(f"{text!r} is not a key: expected MACHINE/INSTANCE, such as signup/ada")
    return Key.parse(text)
