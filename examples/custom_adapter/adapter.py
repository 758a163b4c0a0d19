"""A backend in a directory of files: for each key one file of its record and one of its line, for each timer another.

Whoever does anything holds the lock of the directory, so one call is one step for all processes of this machine; the
lock goes with the process that held it. A file is replaced and never changed, so it is the old one or the new one
wherever a process was killed. Two files are not replaced at once: this adapter does not declare that `finish` is
atomic, and relies on the order in which a write is done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from settled import ConflictError, Key, UnsupportedError
from settled.durable import Capability, DeadLetter, Delivery, Finished, Index, Message, Stored, Timer, Write

LOOK_AGAIN = 0.02
"""Seconds after which a waiting `receive` looks again for what others have sent."""

Trip = Callable[[str], None]


def _nothing(_name: str) -> None:
    pass


class Directory:
    """Texts under names, in `path`. `trip` is called before each write, with the name of what is written."""

    def __init__(self, path: Path, trip: Trip = _nothing) -> None:
        self._path, self._trip = path, trip
        for folder in ("records", "lines", "timers"):
            (path / folder).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Within this block nobody else does anything."""
        with (self._path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def names(self, folder: str) -> list[str]:
        return sorted(file.stem for file in (self._path / folder).glob("*.json"))

    def read(self, folder: str, name: str) -> Any:
        """What was written last; None if there is nothing."""
        try:
            return json.loads((self._path / folder / f"{name}.json").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def write(self, folder: str, name: str, data: Any) -> None:
        """Replace the file; it is on the disk when this returns."""
        self._trip(f"write to {folder}")
        file = self._path / folder / f"{name}.json"
        fresh = file.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as out:
            json.dump(data, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        self._sync(folder)

    def remove(self, folder: str, name: str) -> None:
        self._trip(f"remove from {folder}")
        (self._path / folder / f"{name}.json").unlink(missing_ok=True)
        self._sync(folder)

    def _sync(self, folder: str) -> None:
        """A name is only on the disk once its folder is."""
        handle = os.open(self._path / folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _name(text: object) -> str:
    """A file's name for any key, however long and whatever is in it."""
    return hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()


class FileStore:
    """Records, each in one file with its dead letters: so a commit replaces both at once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def load(self, key: Key) -> Stored | None:
        found = self._directory.read("records", _name(key))
        if found is None:
            return None
        status, tags, updated = found["index"]
        return Stored(found["version"], found["body"], Index(status, tuple(tags), updated))

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        with self._directory.alone():
            self._expect(key, expected)
            self._write(key, stored, [*self.dead_letters(key)[unbury:], *bury])

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        found = self._directory.read("records", _name(key))
        letters: list[Any] = found["letters"] if found else []
        return [DeadLetter(Message(key, id, body), reason, at, detail) for id, body, reason, at, detail in letters]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        with self._directory.alone():
            self._expect(key, expected)
            self._write(key, tombstone, [])

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        raise UnsupportedError("files are not listed in the order of their keys")

    def _expect(self, key: Key, expected: int) -> None:
        found = self.load(key)
        version = found.version if found else 0
        if version != expected:
            raise ConflictError(f"{key}: expected version {expected}, found {version}")

    def _write(self, key: Key, stored: Stored, letters: Sequence[DeadLetter]) -> None:
        data = {
            "version": stored.version,
            "body": stored.body,
            "index": [stored.index.status, stored.index.tags, stored.index.updated],
            "letters": [[each.message.id, each.message.body, each.reason, each.at, each.detail] for each in letters],
        }
        self._directory.write("records", _name(key), data)


class FileQueue:
    """For each key a line: its messages as ``[id, body, attempts]``, and who holds them until when.

    ``held`` is how many messages, from the first one, are handed out; ``free`` when the line may be handed out again;
    ``token`` is the number of the last hand-out, and part of its receipts. ``turn`` is when the line was last handed
    out: the one that has waited longest comes first.
    """

    def __init__(self, directory: Directory, lease: float, clock: Callable[[], float]) -> None:
        self._directory, self._lease, self._clock = directory, lease, clock

    def send(self, messages: Sequence[Message]) -> None:
        with self._directory.alone():
            self._send(messages)

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        while True:
            with self._directory.alone():
                deliveries = self._hand_out(limit)
            if deliveries or time.monotonic() >= end:
                return deliveries
            time.sleep(LOOK_AGAIN)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._directory.alone():
            for key in _keys(deliveries):
                name, line = self._line(key)
                gone = [each.message for each in deliveries if each.message.key == key and self._holds(line, each)]
                if not gone:
                    continue
                kept = [each for each in line["messages"] if Message(key, *each[:2]) not in gone]
                line["held"] -= len(line["messages"]) - len(kept)
                line["messages"] = kept
                if line["held"] == 0:
                    line["free"] = 0.0
                self._directory.write("lines", name, line)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        with self._directory.alone():
            for key in _keys(deliveries):
                name, line = self._line(key)
                if any(each.message.key == key and self._holds(line, each) for each in deliveries):
                    line["held"], line["free"] = 0, self._clock() + delay
                    self._directory.write("lines", name, line)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        lost: list[str] = []
        with self._directory.alone():
            for key in _keys(deliveries):
                name, line = self._line(key)
                if all(each.message.key != key or self._holds(line, each) for each in deliveries):
                    line["free"] = self._clock() + lease
                    self._directory.write("lines", name, line)
                else:
                    lost.append(str(key))
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")

    def _line(self, key: Key) -> tuple[str, dict[str, Any]]:
        name = _name(key)
        empty = {"key": [key.machine, key.instance], "messages": [], "held": 0, "free": 0.0, "token": 0, "turn": 0.0}
        return name, self._directory.read("lines", name) or empty

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            name, line = self._line(message.key)
            # One that has the id of another and a text of its own is no repetition: the record finds that out.
            if all((id, body) != (message.id, message.body) for id, body, _ in line["messages"]):
                line["messages"].append([message.id, message.body, 0])
                self._directory.write("lines", name, line)

    def _hand_out(self, limit: int) -> Sequence[Delivery]:
        if limit < 1:
            return ()
        now = self._clock()
        self._fire(now)
        lines = [(name, self._directory.read("lines", name)) for name in self._directory.names("lines")]
        ready = [(name, line) for name, line in lines if line["messages"] and line["free"] <= now]
        deliveries: list[Delivery] = []
        for name, line in sorted(ready, key=lambda each: each[1]["turn"]):
            if len(deliveries) < limit:
                deliveries += self._lease_out(name, line, limit - len(deliveries), now)
        return deliveries

    def _lease_out(self, name: str, line: dict[str, Any], limit: int, now: float) -> Sequence[Delivery]:
        batch = line["messages"][:limit]
        for message in batch:
            message[2] += 1
        line.update(held=len(batch), free=now + self._lease, token=line["token"] + 1, turn=time.time_ns())
        self._directory.write("lines", name, line)
        key, token = Key(*line["key"]), line["token"]
        return [
            Delivery(Message(key, id, body), f"{token}.{place}", attempts, line["free"])
            for place, (id, body, attempts) in enumerate(batch)
        ]

    def _holds(self, line: dict[str, Any], delivery: Delivery) -> bool:
        token = int(delivery.receipt.split(".")[0])
        message = [delivery.message.id, delivery.message.body]
        held = [each[:2] for each in line["messages"][: line["held"]]]
        return line["token"] == token and message in held and self._clock() < line["free"]

    def _fire(self, now: float) -> None:
        """Send what is due. The timer goes last: killed in between, it is sent once more under the same id."""
        timers = [(name, self._directory.read("timers", name)) for name in self._directory.names("timers")]
        for name, (due, machine, instance, id, body) in sorted(timers, key=lambda each: each[1][0]):
            if due <= now:
                self._send([Message(Key(machine, instance), id, body)])
                self._directory.remove("timers", name)


class FileTimers:
    """Timers, until whoever receives finds them due."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def schedule(self, timer: Timer) -> None:
        to = timer.message
        with self._directory.alone():
            data = [timer.due, to.key.machine, to.key.instance, to.id, to.body]
            self._directory.write("timers", _name(timer.id), data)

    def cancel(self, timer_id: str) -> None:
        with self._directory.alone():
            self._directory.remove("timers", _name(timer_id))


class FileBackend:
    """A store, a queue and timers in the directory `path`.

    `clock` gives seconds since the epoch. The processes that share a directory share the clock of their machine, too.
    """

    def __init__(
        self, path: Path, lease: float = 30.0, clock: Callable[[], float] = time.time, trip: Trip = _nothing
    ) -> None:
        directory = Directory(path, trip)
        self.lease = lease
        self.resolution = 0.0
        self.now = clock
        self.capabilities = frozenset({Capability.ACKED_STAYS_GONE, Capability.CANCELLED_STAYS_AWAY})
        self.store = FileStore(directory)
        self.queue = FileQueue(directory, lease, clock)
        self.timers = FileTimers(directory)

    def finish(self, write: Write) -> None:
        """Commit; then send, schedule and cancel; then acknowledge."""
        if write.stored is not None:
            self.store.commit(write.key, write.stored, write.expected, write.bury, write.unbury)
        self.queue.send(write.sends)
        for timer in write.timers:
            self.timers.schedule(timer)
        for timer_id in write.cancels:
            self.timers.cancel(timer_id)
        self.queue.ack(write.acks)

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        """Files gain nothing by it."""
        raise UnsupportedError(f"{Capability.JOINT_FINISH} is not declared")

    def close(self) -> None:
        """Nothing is kept open."""


def _keys(deliveries: Sequence[Delivery]) -> Sequence[Key]:
    return list(dict.fromkeys(delivery.message.key for delivery in deliveries))
