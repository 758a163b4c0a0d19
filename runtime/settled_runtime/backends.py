"""Opens backends by URL. An adapter registers its scheme as an entry point of the group ``settled.backends``.

The entry point is a function that takes the whole URL and returns a `Backend`. Third-party adapters are found in the
same way as settled's own. An adapter is imported only when its scheme is used.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from settled import BackendConfigError
from settled.durable import Backend
from settled_runtime.codec import Codec
from settled_runtime.coded_backend import CodedBackend
from settled_runtime.url import without_credentials

GROUP = "settled.backends"


def connect(url: str, *, codec: Codec | None = None) -> Backend:
    """Open the backend that `url` names, such as ``sqlite:///signup.db``.

    Args:
        url: the backend.
        codec: encodes the texts that the backend stores, such as `Encryption`. All who use the backend give the same.

    Raises:
        BackendConfigError: no adapter knows the scheme, the adapter's packages are not installed, or the adapter
            cannot use the URL.
        AccessDeniedError, UnavailableError: as the adapter raises it, if opening the backend calls it.
    """
    scheme, separator, _ = url.partition(":")
    known = {point.name: point for point in entry_points(group=GROUP)}
    if not separator or scheme not in known:
        names = ", ".join(f"{name}://" for name in sorted(known))
        raise BackendConfigError(f"{without_credentials(url)!r}: unknown scheme. Known schemes: {names}")
    try:
        open_backend = cast("Callable[[str], Backend]", known[scheme].load())
    except ImportError as error:
        extra = f"pip install 'settled[{scheme}]'"
        raise BackendConfigError(f"{scheme}://: its packages are not installed ({error}). Try: {extra}") from error
    backend = open_backend(url)
    return backend if codec is None else CodedBackend(backend, codec)
