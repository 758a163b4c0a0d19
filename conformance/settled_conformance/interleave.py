"""Two calls at once, in every way that a pause can bring about.

The first call is stopped at one line of the adapter's own code, the second runs as far as it can, and the first goes
on. Done for each line in turn, this finds what checks first and writes later, wherever it does so: the adapter need
not help. A second call that waits for a lock of the first is what should happen, and is given a moment only.
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
"""After how many seconds a second call is taken to wait for the first one."""

MAX_LINES = 150
"""How many lines are tried; of a longer call, only the first."""


@frozen
class Pair:
    """Two calls that are made at once."""

    first: Callable[[], object]
    second: Callable[[], object]


def each_preemption(fixture: BackendFixture, pair: Callable[[Backend, Backend], Pair]) -> Iterator[str]:
    """Make the two calls of `pair` again and again, each time with the pause one line further; where, after each.

    Each time at a fresh place, through two handles that nobody watches.
    """
    for number in range(1, MAX_LINES + 1):
        fixture.reset()
        first, second = fixture.backend.backend, fixture.open_handle().backend
        files = _Files.of((first, second))
        calls = pair(first, second)
        pause = _Pause(files, number, threading.Thread(target=_ignore_errors, args=(calls.second,), daemon=True))
        thread = threading.Thread(target=pause.run, args=(calls.first,), daemon=True)
        thread.start()
        thread.join()
        if pause.paused_at is None:
            calls.second()
            yield "the end"
            return
        pause.second.join()
        yield pause.paused_at


def _ignore_errors(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        return


@frozen
class _Files:
    """Which code is the adapter's: the folders of its modules."""

    folders: tuple[str, ...]

    @classmethod
    def of(cls, backends: tuple[Backend, ...]) -> _Files:
        parts: list[Any] = [part for each in backends for part in (each, each.store, each.queue, each.timers)]
        modules = {type(part).__module__ for part in parts}
        return cls(tuple(sorted({_folder(name) for name in modules})))

    def holds(self, filename: str) -> bool:
        return filename.startswith(self.folders)


def _folder(module: str) -> str:
    """The folder of `module`, or only its file if it stands alone."""
    file = Path(str(sys.modules[module].__file__))
    return f"{file.parent}/" if "." in module or file.name == "__init__.py" else str(file)


@define(eq=False)
class _Pause:
    """Stops its thread at line number `at` of the adapter, until `second` has done what it can."""

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
        return self._line if self.paused_at is None and self.files.holds(frame.f_code.co_filename) else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event != "line" or self.paused_at is not None:
            return self._line
        self.lines_seen += 1
        if self.lines_seen == self.pause_at:
            self.paused_at = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            self.second.start()
            self.second.join(BLOCKED_AFTER)
        return self._line
