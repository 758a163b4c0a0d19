"""Runs two concurrent calls under every preemption of the first one.

The first call is paused, by `sys.settrace`, at one line of the adapter's code; the second call then runs as far as it
can, and the first one continues. Repeated for each line in turn, this finds check-then-act races without any help of
the adapter. A second call that blocks on a lock of the first is correct; it is waited for only briefly.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define, field, frozen

from settled.durable import Backend
from settled_conformance.fixture import BackendFixture

BLOCKED_AFTER = 0.01
"""Seconds after which the second call is assumed to be blocked by the first."""

MAX_LINES = 150
"""The maximum number of lines at which a call is paused; of a longer call, only these first ones are tested."""


@frozen
class Pair:
    """Two calls to be made concurrently."""

    first: Callable[[], object]
    second: Callable[[], object]


def each_preemption(fixture: BackendFixture, pair: Callable[[Backend, Backend], Pair]) -> Iterator[str]:
    """Make the calls of `pair` once for each line at which the first can be paused; yield the line after each.

    Each time the environment is fresh, and `pair` is given two unchecked handles. The last run, without a pause, makes
    one call after the other and yields "the end".
    """
    for number in range(1, MAX_LINES + 1):
        fixture.reset()
        first, second = fixture.backend.backend, fixture.open_handle().backend
        files = _Files.of((first, second))
        calls = pair(first, second)
        pause = _Pause(files, number, threading.Thread(target=_ignore_errors, args=(calls.second,), daemon=True))
        # A thread of its own: a trace function is per thread, and must not see the suite's own code.
        thread = threading.Thread(target=pause.run, args=(calls.first,), daemon=True)
        thread.start()
        thread.join()
        if pause.paused_at is None:
            calls.second()
            yield "the end"
            return
        pause.second.join()  # if it was blocked, it can go on now that the first call has returned
        yield pause.paused_at


def _ignore_errors(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        return


@frozen
class _Files:
    """The adapter's own code, as the folders of the modules of its classes."""

    folders: tuple[str, ...]

    @classmethod
    def of(cls, backends: tuple[Backend, ...]) -> _Files:
        parts: list[Any] = [part for each in backends for part in (each, each.store, each.queue, each.timers)]
        modules = {type(part).__module__ for part in parts}
        return cls(tuple(sorted({_folder(name) for name in modules})))

    def holds(self, filename: str) -> bool:
        return filename.startswith(self.folders)


def _folder(module: str) -> str:
    """Return the folder of `module`, or its file if it is a top-level module."""
    file = Path(str(sys.modules[module].__file__))
    return f"{file.parent}/" if "." in module or file.name == "__init__.py" else str(file)


@define(eq=False)
class _Pause:
    """A trace function that pauses its thread at the adapter's line number `pause_at` while `second` runs.

    Lines are counted as they are executed, so the numbers are those of steps rather than of the source.
    """

    files: _Files
    pause_at: int
    second: threading.Thread
    paused_at: str | None = None
    lines_seen: int = field(default=0, init=False)

    def run(self, call: Callable[[], object]) -> None:
        sys.settrace(self._enter)
        try:
            _ignore_errors(call)
        finally:
            sys.settrace(None)

    def _enter(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        # None: this frame is not traced, so code of other packages is never paused and stays fast.
        return self._line if self.paused_at is None and self.files.holds(frame.f_code.co_filename) else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event != "line" or self.paused_at is not None:
            return self._line
        self.lines_seen += 1
        if self.lines_seen == self.pause_at:
            self.paused_at = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            self.second.start()
            self.second.join(BLOCKED_AFTER)  # not for ever: it may need a lock that the paused call holds
        return self._line
