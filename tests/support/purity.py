"""Two watches over running code, for what no import contract can see: what attrs, cattrs or a built-in does for us.

Python tells an audit hook of everything that touches the outside (PEP 578): files, sockets, processes, imports. It
does not tell of clocks, chance, threads or loggers; a profile function sees those calls.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import BuiltinFunctionType, FrameType
from typing import Any

# Python about itself: generated methods of attrs and cattrs, and attribute access.
HARMLESS = {
    "builtins.id",
    "code.__new__",
    "compile",
    "exec",
    "function.__new__",
    "object.__delattr__",
    "object.__getattr__",
    "object.__setattr__",
    "sys._getframe",
    "sys._getframemodulename",
    "sys.setprofile",
}
# What leaves no trace for the hook, by the module it is in, or by name where the module does more than that.
CLOCKS_AND_CHANCE = {"_random", "_uuid", "random", "sched", "secrets", "time", "uuid"}
WORKERS = {"asyncio", "concurrent", "logging", "multiprocessing", "threading"}
BY_NAME = {"getentropy", "getrandom", "start_new_thread", "urandom"}
TODAY = {"now", "today", "utcnow"}

# An audit hook stays for ever, so there is one, and it writes into whatever watch is on.
_watch: list[str] | None = None


def _hear(event: str, args: tuple[object, ...]) -> None:
    if _watch is not None and event not in HARMLESS:
        _watch.append(f"{event} {args!r}")


sys.addaudithook(_hear)


def _see(frame: FrameType, event: str, called: Any) -> None:
    if _watch is None:
        return
    if event == "call":
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in CLOCKS_AND_CHANCE | WORKERS:
            _watch.append(f"{module}.{frame.f_code.co_qualname}")
    elif event == "c_call" and _breaks_the_law(called):
        _watch.append(f"{_module(called)}.{called.__qualname__}")


def _breaks_the_law(called: BuiltinFunctionType) -> bool:
    if called.__name__ in TODAY and _module(called) == "datetime":
        return True
    return called.__name__ in BY_NAME or _module(called) in CLOCKS_AND_CHANCE


def _module(called: BuiltinFunctionType) -> str:
    """Where `called` is from; a method of a built-in type does not say, but what it is bound to does."""
    bound: object = called.__self__
    owner = bound if isinstance(bound, type) else type(bound)
    return called.__module__ or owner.__module__


@contextmanager
def watch() -> Generator[list[str]]:
    """What the block does that the core may not; the list is complete once the block has ended."""
    global _watch  # noqa: PLW0603 (the audit hook cannot be taken off, nor given an argument)
    before, seen = sys.getprofile(), list[str]()
    _watch = seen
    sys.setprofile(_see)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        _watch = None
