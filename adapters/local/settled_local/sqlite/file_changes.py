"""Notices what other processes commit to the file.

SQLite tells nobody of a commit, but the number that ``PRAGMA data_version`` returns is another one after each. On Linux
the kernel reports each write to the log (inotify), so the pragma is only asked when something was written, and an idle
process costs nothing. Elsewhere it is asked `POLL_INTERVAL` after `POLL_INTERVAL`.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Protocol

from attrs import define, field

from settled.errors import SettledError
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database

POLL_INTERVAL = 0.02
"""Seconds between two questions where the system does not report writes."""

LONGEST_QUIET = 1.0
"""Seconds after which the file is asked even if no write was reported."""

PAUSES = (0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256)
"""Seconds between the questions after a write: a commit is visible when it is on the disk, which takes a while."""


POLL_RESOLUTION = 0.002
"""Seconds below which `select.poll`, which counts whole milliseconds, waits for too long."""


class Reports(Protocol):
    """Tells that the log was written to."""

    def wait(self, timeout: float) -> bool:
        """Wait for a write, for `timeout` seconds at most, or until `stop` is called. Return whether there was one."""
        ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


@define(eq=False)
class FileChanges:
    """Calls `changed` when another process may have committed to the file, for as long as anybody follows it.

    `changed` is called in a thread of its own, with a connection to read with.
    """

    database: Database
    changed: Callable[[Connection], None]
    _followers: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _follower: _Follower | None = field(default=None, init=False)

    @contextmanager
    def followed(self) -> Generator[None]:
        """Follow the file within this block."""
        with self._lock:
            self._followers += 1
            if self._follower is None or self._follower.is_over:
                self._follower = _Follower(self)
                self._follower.start()
        try:
            yield
        finally:
            with self._lock:
                self._followers -= 1

    def close(self) -> None:
        """End the thread, and wait for it."""
        with self._lock:
            follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()

    def end_unless_followed(self, follower: _Follower) -> None:
        """End `follower` if nobody has followed the file for a while."""
        with self._lock:
            if not self._followers:
                follower.is_over = True


class _Follower(threading.Thread):
    """Follows the file until nobody wants it any more."""

    def __init__(self, changes: FileChanges) -> None:
        super().__init__(name="settled-file-changes", daemon=True)
        self.is_over = False
        self._changes = changes
        self._reports = _reports(f"{os.path.realpath(changes.database.path)}-wal")
        self._is_ready = threading.Event()

    def start(self) -> None:
        """Start the thread, and return when no later commit can go unnoticed."""
        super().start()
        self._is_ready.wait()

    def stop(self) -> None:
        self.is_over = True
        self._reports.stop()
        if threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        # An error is for those who wait: they ask the file now and then, and get it themselves.
        try:
            with suppress(SettledError), self._changes.database.reading() as db:
                self._follow(db)
        finally:
            self.is_over = True
            self._is_ready.set()
            self._reports.close()

    def _follow(self, db: Connection) -> None:
        seen = data_version(db)
        self._is_ready.set()
        quiet = 0
        while not self.is_over:
            is_written = self._reports.wait(PAUSES[quiet] if quiet < len(PAUSES) else LONGEST_QUIET)
            version = data_version(db)
            if version != seen:
                seen = version
                self._changes.changed(db)
            elif not is_written:
                quiet += 1
                if quiet > len(PAUSES):
                    self._changes.end_unless_followed(self)
                continue
            quiet = 0  # the next commit may have been reported together with this one, and be visible only later


def data_version(db: Connection) -> int:
    """Return a number that is another one after each commit of another connection."""
    (version,) = db.run("PRAGMA data_version").fetchone()
    return int(version)


def _reports(log: str) -> Reports:
    if sys.platform == "linux":
        with suppress(OSError):  # this user may not have any more of them, or the kernel has none
            return _Inotify(log)
    return _Polls()


class _Inotify:
    """The kernel's reports."""

    def __init__(self, log: str) -> None:
        inotify: Any = import_module("inotify_simple")  # here: it loads ctypes, and only Linux has it
        self._inotify = inotify.INotify(nonblocking=True)
        try:
            self._inotify.add_watch(log, inotify.flags.MODIFY)
        except OSError:
            self._inotify.close()
            raise
        self._stop = os.eventfd(0)
        self._poll = select.poll()
        for file in (self._inotify.fileno(), self._stop):
            self._poll.register(file, select.POLLIN)
        self._lock = threading.Lock()
        self._closed = False

    def wait(self, timeout: float) -> bool:
        if timeout < POLL_RESOLUTION:
            time.sleep(timeout)
            timeout = 0
        found = self._poll.poll(timeout * 1000)
        is_written = any(file == self._inotify.fileno() for file, _ in found)
        if is_written:
            self._inotify.read(timeout=0)
        return is_written

    def stop(self) -> None:
        with self._lock:
            if not self._closed:  # the number may be that of another file by now
                os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._inotify.close()
            os.close(self._stop)


class _Polls:
    """No reports: the file is asked again and again."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def wait(self, timeout: float) -> bool:
        self._stopped.wait(min(timeout, POLL_INTERVAL))
        return False

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        pass
