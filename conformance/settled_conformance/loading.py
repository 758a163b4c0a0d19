"""Loads a harness from ``module:factory``, and validates it. Every error is a one-line message."""

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
"""The modules with the harnesses of settled's own adapters: an adapter must not import its test suite."""

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
    """There is no usable harness; the message says why in one line."""


def load_harness(adapter: str) -> Harness:
    """Return the harness that ``module:factory`` makes.

    Raises:
        HarnessError: the factory cannot be imported, raises, or returns something else.
    """
    module, colon, name = adapter.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # an adapter under development need not be installed
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
    """Return the harness that `factory` makes; `name` is used in messages.

    Raises:
        HarnessError: the factory raises, or does not return a harness, or the harness does not open a backend.
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
    """Return `backend`; `name`, which returned it, is used in messages.

    Raises:
        HarnessError: it lacks a part of the `Backend` protocol.
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
