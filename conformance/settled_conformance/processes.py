"""Real processes that tests kill with SIGKILL: a writer that reports each confirmed write, and workers.

A process receives the pickled opener of the backend, and reports in lines on its standard output.
"""

from __future__ import annotations

import base64
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from settled import Key, assign, setup
from settled.durable import DeadLetter, Index, Message, Stored, Write
from settled_conformance.harness import Opener
from settled_runtime import Client, Worker


def _start(role: str, opener: Opener, *arguments: str) -> subprocess.Popen[str]:
    pickled = base64.b64encode(pickle.dumps(opener)).decode()
    command = [sys.executable, "-m", "settled_conformance.processes", role, pickled, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


class Writer:
    """A process that commits version after version, each with a dead letter, a send before it, and one within it."""

    KEY: ClassVar[Key] = Key("killed", "a")
    SENT: ClassVar[Key] = Key("killed", "sent")
    OUTBOX: ClassVar[Key] = Key("killed", "outbox")

    def __init__(self, opener: Opener, version: int) -> None:
        self._process = _start("write", opener, str(version))

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def kill(self, known: int) -> int:
        """Kill the process; return the last version that was confirmed to it, or `known` if there was none."""
        self._process.send_signal(signal.SIGKILL)
        lines, _ = self._process.communicate()
        whole = [line for line in lines.split("\n")[:-1] if line]  # the last line may be cut off by the kill
        return int(whole[-1]) if whole else known

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            _kill(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()


def write(opener: Opener, version: int) -> None:
    """Run in the process of a `Writer`: write for ever, and print each version once it is confirmed."""
    backend = opener()
    print("ready", flush=True)
    while True:
        version += 1
        backend.queue.send([Message(Writer.SENT, f"s{version}", "{}")])
        stored = Stored(version, f"{version}", Index("active"))
        dead_letter = DeadLetter(Message(Writer.KEY, f"l{version}", "{}"), "killed", 0.0)
        outbox = Message(Writer.OUTBOX, f"o{version}", "{}")
        backend.finish(Write(Writer.KEY, stored, version - 1, (dead_letter,), sends=(outbox,)))
        print(version, flush=True)


def machine(journal: Path) -> Any:
    """Return a machine that records the numbers of its events, and appends the key of each effect to `journal`."""

    def tell(args: Any) -> None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(f"{args.call.idempotency_key}\n")

    return setup(
        actions={"keep": assign(taken=lambda args: [*args.context["taken"], args.event["number"]]), "tell": tell}
    ).machine(
        {
            "id": "lives",
            "context": {"taken": []},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"TAKE": {"actions": ["keep", "tell"]}}}},
        }
    )


def work(opener: Opener, journal: Path) -> None:
    """Run in each process of a `Workforce`: work until it is killed."""
    worker = Worker(
        [machine(journal)], opener(), observers=(), concurrency=2, batch=4, receive_wait=timedelta(seconds=0.1)
    )
    print("ready", flush=True)
    worker.run()


class Workforce:
    """Worker processes over one backend. A killed worker is replaced by a new one."""

    def __init__(self, opener: Opener, workers: int) -> None:
        self._opener = opener
        self._directory = tempfile.TemporaryDirectory(prefix="settled-conformance-")
        self.journal = Path(self._directory.name) / "journal"
        self._backend = opener()
        self._client = Client(machine(self.journal), self._backend)
        self._workers = [self._worker() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._workers:
            _kill(process)
            if process.stdout is not None:
                process.stdout.close()
        self._backend.close()
        self._directory.cleanup()

    def _worker(self) -> subprocess.Popen[str]:
        return _start("work", self._opener, str(self.journal))

    def send(self, instances: str, events: int) -> None:
        """Start `instances`, and send `events` events to each."""
        for instance in instances:
            self._client.start(instance, message_id=f"{instance}.start")
        for number in range(events):
            for instance in instances:
                self._client.send(instance, {"type": "TAKE", "number": str(number)}, message_id=f"{instance}.{number}")

    def kill_one(self) -> None:
        """Kill the oldest worker, and start another."""
        oldest = self._workers.pop(0)
        _kill(oldest)
        if oldest.stdout is not None:
            oldest.stdout.close()
        self._workers.append(self._worker())

    def taken(self, instances: str) -> Sequence[Sequence[str]]:
        """Return the events that each of `instances` has taken."""
        found = [self._client.get(instance) for instance in instances]
        return [snapshot.context["taken"] if snapshot else [] for snapshot in found]

    def wait(self, instances: str, events: int) -> bool:
        """Wait until all events were taken and their effects performed; return False after 40 seconds."""
        end = time.monotonic() + 40.0
        while time.monotonic() < end:
            if all(len(each) >= events for each in self.taken(instances)) and len(performed(self)) >= events * len(
                instances
            ):
                return True
            time.sleep(0.1)
        return False


def order_of(workforce: Workforce, instance: str) -> list[str]:
    """Return the events that `instance` has taken, in order."""
    return list(workforce.taken(instance)[0])


def performed(workforce: Workforce) -> set[str]:
    """Return the idempotency keys of all performed effects."""
    text = workforce.journal.read_text(encoding="utf-8") if workforce.journal.exists() else ""
    return set(text.split())


def main(role: str, pickled: str, argument: str) -> None:
    """Run the role that this process was started for."""
    opener = pickle.loads(base64.b64decode(pickled))
    if role == "write":
        write(opener, int(argument))
    else:
        work(opener, Path(argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
