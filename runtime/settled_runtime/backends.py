"""Backends by URL. Adapters register a scheme as an entry point of the group ``settled.backends``.

The entry point names a function that takes the whole URL and returns a `Backend`; others' adapters are found the same
way as settled's own, and a vendor's client is imported only when its scheme is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from settled import BackendConfigError
from settled.durable import Backend
from settled_runtime.url import without_password

GROUP = "settled.backends"


def connect(url: str) -> Backend:
    """Open the backend that `url` names, such as ``sqlite:///signup.db``.

    Raises:
        Denied: no adapter knows the scheme, or the adapter's own packages are missing; or as the adapter says.
    """
    scheme, separator, _ = url.partition(":")
    known = {point.name: point for point in entry_points(group=GROUP)}
    if not separator or scheme not in known:
        names = ", ".join(f"{name}://" for name in sorted(known))
        raise BackendConfigError(f"{without_password(url)!r}: no backend of this name. Known: {names}")
    return _opener(known[scheme])(url)


def _opener(point: EntryPoint) -> Callable[[str], Backend]:
    try:
        return cast("Callable[[str], Backend]", point.load())
    except ImportError as error:
        extra = f"pip install 'settled[{point.name}]'"
        raise BackendConfigError(f"{point.name}://: its packages are not installed ({error}). Try: {extra}") from error
