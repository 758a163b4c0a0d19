"""From ``module:factory`` to a harness. Whatever is wrong with it is said in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from settled.durable import Backend
from settled_conformance.harness import Harness

OURS: Mapping[str, str] = {
    "settled_local": "settled_conformance.harnesses.local",
    "settled_redis": "settled_conformance.harnesses.redis",
}
"""Where the harnesses of settled's own adapters are: an adapter must not import what tests it."""

EXPECTED = "expected MODULE:FACTORY, a function without arguments that returns a settled_conformance.Harness"
_HARNESS = (
    *("kind", "capabilities", "open", "reset", "instrument", "now", "advance", "tick", "owns_time", "opener"),
    "known_failures",
)
_BACKEND = ("store", "queue", "timers", "capabilities", "lease", "finish", "close")
_PORTS: Mapping[str, tuple[str, ...]] = {
    "store": ("load", "commit", "dead_letters", "delete", "scan"),
    "queue": ("send", "receive", "ack", "release", "extend"),
    "timers": ("schedule", "cancel"),
}


class HarnessError(Exception):
    """There is nothing that could be tested; the message says in one line why."""


def load_harness(adapter: str) -> Harness:
    """The harness that ``module:factory`` makes.

    Raises:
        NoHarness: it cannot be imported, it raises, or what it returns is no harness.
    """
    module, colon, name = adapter.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # an adapter that is being written is where its author stands
    if not colon or not module or not name:
        raise HarnessError(f"{adapter!r}: {EXPECTED}")
    try:
        found = getattr(import_module(OURS.get(module, module)), name, None)
    except Exception as error:
        raise HarnessError(f"{adapter}: cannot import {module} ({_describe_error(error)}): {EXPECTED}") from error
    if not callable(found):
        raise HarnessError(f"{adapter}: {module} has no function {name}: {EXPECTED}")
    return make_harness(found, adapter)


def make_harness(factory: Callable[[], object], name: str) -> Harness:
    """The harness that `factory`, known as `name`, makes.

    Raises:
        NoHarness: it raises, or what it returns is no harness, or what that opens is no backend.
    """
    try:
        harness = factory()
    except Exception as error:
        raise HarnessError(f"{name}: raised {_describe_error(error)}: {EXPECTED}") from error
    missing = [part for part in _HARNESS if not hasattr(harness, part)]
    if missing:
        raise HarnessError(f"{name}: returned {_describe(harness)}, which has no {', '.join(missing)}: {EXPECTED}")
    known = cast("Harness", harness)
    try:
        known.reset()
        checked(known.open(), f"{name}: open()").close()
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(
            f"{name}: its harness raised {_describe_error(error)}: expected reset() and open() to work"
        ) from error
    return known


def checked(backend: object, name: str) -> Backend:
    """`backend`, which `name` returned.

    Raises:
        NoHarness: it is no backend.
    """
    missing = [part for part in _BACKEND if not hasattr(backend, part)]
    for port, methods in _PORTS.items():
        held: Any = getattr(backend, port, None)
        missing += [f"{port}.{method}" for method in methods if held is not None and not hasattr(held, method)]
    if missing:
        raise HarnessError(
            f"{name} returned {_describe(backend)}: expected a settled.Backend; it has no {', '.join(missing)}"
        )
    return cast("Backend", backend)


def _describe(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _describe_error(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
