"""The workers of a storm, each in a slot, and what is done to them.

A worker that has ended is started again, whatever ended it. The supervisor calls `tick` many times a second; nothing
here waits.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from attrs import define, field

from bench.storm.journals import DEPLOYED, ENDED_BY_ACTOR, FROZEN, KILLED, Struck, now
from bench.storm.machine import EXIT_KILLED_BY_ACTOR, MENDED
from bench.storm.settings import Settings
from settled_runtime.worker import EXIT_HANGING

WORKERS_LOG = "workers.log"
"""The file, in the folder of the storm, with what all workers log."""

RESTART_AFTER = 0.2
"""How many seconds after its end a worker is started again."""

SHARE_WITH_WRONG_CLOCK = 0.3
"""The share of workers that begin with a wrong clock while the storm lasts."""

ENDS = {
    0: "stopped",
    -signal.SIGTERM: "stopped before it had begun",
    -signal.SIGKILL: KILLED,
    EXIT_KILLED_BY_ACTOR: ENDED_BY_ACTOR,
    EXIT_HANGING: "hung until its end",
}
"""The exit codes that workers may have."""


@define(eq=False)
class Slot:
    """A place for one worker after another.

    Attributes:
        version: of the machine that the next worker serves.
        process: the worker, or the last one.
        thaw_at: when a frozen worker goes on; None if it is not frozen.
        kill_at: when a worker that was asked to stop is killed; None if none was.
        start_at: when the next worker starts; None while one runs.
        starting_since: when a worker was started that does not serve yet; None if it does.
    """

    number: int
    version: int = 1
    process: subprocess.Popen[bytes] | None = None
    thaw_at: float | None = None
    kill_at: float | None = None
    start_at: float | None = 0.0
    starting_since: float | None = None

    @property
    def serves(self) -> bool:
        """Whether its worker serves, and was neither frozen nor asked to stop."""
        return self.start_at is None and self.starting_since is None and self.thaw_at is None and self.kill_at is None


@define(eq=False)
class Workers:
    """All workers of a storm.

    Attributes:
        ends: how many workers have ended in which way.
        starts: how long each worker took until it served, in seconds.
        is_over: whether the storm is over: nothing is struck, and no new worker has a wrong clock.
        is_mended: whether new workers' guards do not hang.
    """

    settings: Settings
    random: Random
    ends: Counter[str] = field(factory=Counter[str])
    starts: list[float] = field(factory=list[float])
    is_over: bool = False
    is_mended: bool = False
    slots: list[Slot] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.settings.workers)]

    def tick(self) -> None:
        """Notice which workers have ended, and do what is due."""
        for slot in self.slots:
            self._look_at(slot)
            if slot.start_at is not None and now() >= slot.start_at:
                self._start(slot)

    def kill(self) -> None:
        """Kill a worker at random."""
        if (slot := self._pick()) is not None:
            self._note(KILLED, slot)
            _process(slot).kill()

    def freeze(self) -> None:
        """Stop the process of a worker at random, until its leases have ended."""
        if (slot := self._pick()) is not None:
            slot.thaw_at = now() + self.settings.lease * self.random.uniform(1.2, 2.0)
            _process(slot).send_signal(signal.SIGSTOP)
            self._note(FROZEN, slot, slot.thaw_at, locked=self._is_locked())

    def deploy(self, slot: Slot) -> None:
        """Ask the worker of `slot` to stop; the next one there serves version 2."""
        slot.version = 2
        self._note(DEPLOYED, slot)
        self.stop(slot)

    def stop(self, slot: Slot) -> None:
        """Ask the worker of `slot` to stop; it is killed if it does not."""
        if slot.start_at is None:
            slot.kill_at = now() + self.settings.patience
            if slot.thaw_at is not None:
                slot.thaw_at = None
                _process(slot).send_signal(signal.SIGCONT)
            _process(slot).terminate()

    def end(self) -> None:
        """Ask all workers to stop, and wait until they have. The next `tick` starts new ones."""
        for slot in self.slots:
            self.stop(slot)
        while any(slot.start_at is None for slot in self.slots):
            for slot in self.slots:
                self._look_at(slot)
            time.sleep(0.05)

    def close(self) -> None:
        """Kill whatever still runs."""
        for slot in self.slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.kill()
                slot.process.wait()

    @property
    def serving(self) -> Sequence[Slot]:
        """The slots whose worker serves, and was neither frozen nor asked to stop."""
        return [slot for slot in self.slots if slot.serves]

    def _pick(self) -> Slot | None:
        """Return a slot at random whose worker serves; None if no more than half of all would still serve."""
        serving = self.serving
        return self.random.choice(serving) if 2 * (len(serving) - 1) >= len(self.slots) else None

    def _start(self, slot: Slot) -> None:
        skew, environment = 0.0, dict(self.settings.environment())
        if not self.is_over and self.random.random() < SHARE_WITH_WRONG_CLOCK:
            skew = self.random.uniform(-1, 1) * self.settings.largest_skew
            self._note("given a wrong clock", slot)
        if self.is_mended:
            environment[MENDED] = "yes"
        command = [sys.executable, "-m", "bench.storm.worker", str(slot.version), str(skew)]
        with (Path(self.settings.folder) / WORKERS_LOG).open("ab") as log:
            slot.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        slot.start_at, slot.starting_since = None, now()

    def _look_at(self, slot: Slot) -> None:
        if slot.start_at is not None:
            return
        if slot.starting_since is not None and self.settings.serving(_process(slot).pid).exists():
            self.starts.append(now() - slot.starting_since)
            slot.starting_since = None
        if (code := _process(slot).poll()) is not None:
            end = ENDS.get(code, f"ended with exit code {code}")
            self.ends[end] += 1
            if end == ENDED_BY_ACTOR:
                self._note(end, slot)
            slot.thaw_at = slot.kill_at = slot.starting_since = None
            slot.start_at = now() + RESTART_AFTER
        elif slot.kill_at is not None and now() >= slot.kill_at:
            _process(slot).kill()
        elif slot.thaw_at is not None and now() >= slot.thaw_at:
            _process(slot).send_signal(signal.SIGCONT)
            slot.thaw_at = None

    def _note(self, what: str, slot: Slot, until: float = 0.0, *, locked: bool = False) -> None:
        self.settings.journals.write(Struck(now(), what, slot.number, until, locked))

    def _is_locked(self) -> bool:
        """Return whether a process that is frozen holds the lock of the SQLite file."""
        if not self.settings.is_on_sqlite:
            return False
        path = self.settings.url.removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            db.execute("ROLLBACK")
        return False


def _process(slot: Slot) -> subprocess.Popen[bytes]:
    assert slot.process is not None
    return slot.process
