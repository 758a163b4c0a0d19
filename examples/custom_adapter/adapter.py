"""A backend in a directory of files: a record and a queue for each key, and a file for each timer.

Every writing call holds a lock on the directory, so processes of this machine make one call at a time; the operating
system releases the lock of a process that dies. A file is replaced and never changed, so after a crash it is the old
one or the new one. Two files cannot be replaced atomically: this adapter does not declare `Capability.ATOMIC_FINISH`,
and relies on the order in which `finish` does its parts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from settled import ConflictError, Key, UnsupportedError
from settled.durable import (
    MAX_MESSAGE_BYTES,
    Backlog,
    Capability,
    ClosedOnExit,
    DeadLetter,
    Delivery,
    FinishResult,
    Index,
    Message,
    Stored,
    Timer,
    Write,
)

POLL_INTERVAL = 0.02
"""Seconds between the polls of a waiting `receive`: a file system has no notification of new messages."""

BeforeWrite = Callable[[str], None]


def _nothing(_name: str) -> None:
    pass


class Directory:
    """JSON files in folders under `path`. `before_write` is called with a label before each write."""

    def __init__(self, path: Path, before_write: BeforeWrite = _nothing) -> None:
        self._path, self._before_write = path, before_write
        for folder in ("records", "queues", "timers"):
            (path / folder).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        """Hold the lock of the directory, against all other processes and threads."""
        with (self._path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def names(self, folder: str) -> list[str]:
        return sorted(file.stem for file in (self._path / folder).glob("*.json"))

    def read(self, folder: str, name: str) -> Any:
        """Return the content of a file, or None if it does not exist."""
        try:
            return json.loads((self._path / folder / f"{name}.json").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def write(self, folder: str, name: str, data: Any) -> None:
        """Replace the file; it is durable on return."""
        self._before_write(f"write to {folder}")
        file = self._path / folder / f"{name}.json"
        fresh = file.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as out:
            json.dump(data, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)  # atomic; and only after the content is on the disk, or a crash could leave half a file
        self._sync(folder)

    def remove(self, folder: str, name: str) -> None:
        self._before_write(f"remove from {folder}")
        (self._path / folder / f"{name}.json").unlink(missing_ok=True)
        self._sync(folder)

    def _sync(self, folder: str) -> None:
        """Sync the folder: a new file name is durable only once its folder is."""
        handle = os.open(self._path / folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _name(text: object) -> str:
    """Return a file name for any key or id, of any length and with any characters."""
    return hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()


def _fields(message: Message) -> list[Any]:
    """Return what a file has of `message`: everything but its key."""
    return [message.id, message.body, message.headers]


class FileStore:
    """Records, each in one file with its dead letters, so that a commit replaces both atomically."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def load(self, key: Key) -> Stored | None:
        found = self._directory.read("records", _name(key))
        if found is None:
            return None
        status, tags, updated = found["index"]
        return Stored(found["version"], found["body"], Index(status, tuple(tags), updated))

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        with self._directory.lock():
            self._expect(key, expected)
            self._write(key, stored, [*self.dead_letters(key)[remove_dead_letters:], *add_dead_letters])

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        found = self._directory.read("records", _name(key))
        dead_letters: list[Any] = found["dead_letters"] if found else []
        return [DeadLetter(Message(key, *message), *rest) for message, *rest in dead_letters]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        with self._directory.lock():
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

    def _write(self, key: Key, stored: Stored, dead_letters: Sequence[DeadLetter]) -> None:
        data = {
            "version": stored.version,
            "body": stored.body,
            "index": [stored.index.status, stored.index.tags, stored.index.updated],
            "dead_letters": [[_fields(each.message), each.reason, each.at, each.detail] for each in dead_letters],
        }
        self._directory.write("records", _name(key), data)


class FileQueue:
    """A queue for each key: a file with its messages as ``[[id, body, headers], attempts]``, and their lease.

    ``leased`` is the number of messages, from the first one, that are leased; ``free_at`` the time from which the key
    may be delivered again; ``token`` the number of the last delivery, which is part of its receipts; ``delivered_at``
    the time of the last delivery, by which keys take turns.
    """

    def __init__(self, directory: Directory, lease: float, clock: Callable[[], float]) -> None:
        self._directory, self._lease, self._clock = directory, lease, clock

    def send(self, messages: Sequence[Message]) -> None:
        with self._directory.lock():
            self._send(messages)

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        while True:
            with self._directory.lock():
                deliveries = self._deliver(limit, machines)
            if deliveries or time.monotonic() >= end:
                return deliveries
            time.sleep(POLL_INTERVAL)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._directory.lock():
            for key in _keys(deliveries):
                name, queue = self._queue(key)
                gone = [each.message for each in deliveries if each.message.key == key and self._holds(queue, each)]
                if not gone:
                    continue
                kept = [each for each in queue["messages"] if Message(key, *each[0]) not in gone]
                queue["leased"] -= len(queue["messages"]) - len(kept)
                queue["messages"] = kept
                if queue["leased"] == 0:
                    queue["free_at"] = 0.0
                self._directory.write("queues", name, queue)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        with self._directory.lock():
            for key in _keys(deliveries):
                name, queue = self._queue(key)
                if any(each.message.key == key and self._holds(queue, each) for each in deliveries):
                    queue["leased"], queue["free_at"] = 0, self._clock() + delay
                    self._directory.write("queues", name, queue)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        lost: list[str] = []
        with self._directory.lock():
            for key in _keys(deliveries):
                name, queue = self._queue(key)
                if all(each.message.key != key or self._holds(queue, each) for each in deliveries):
                    queue["free_at"] = self._clock() + lease
                    self._directory.write("queues", name, queue)
                else:
                    lost.append(str(key))
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        now, counts = self._clock(), dict[str, int]()
        for name in self._directory.names("queues"):
            queue = self._directory.read("queues", name)
            if queue["messages"] and queue["free_at"] <= now:
                machine = queue["key"][0]
                counts[machine] = counts.get(machine, 0) + len(queue["messages"])
        return [Backlog(machine, counts[machine]) for machine in sorted(counts)]

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self.ack(deliveries)  # only the ids of waiting messages are known

    def _queue(self, key: Key) -> tuple[str, dict[str, Any]]:
        name = _name(key)
        empty = {
            "key": [key.machine, key.instance],
            "messages": [],
            "leased": 0,
            "free_at": 0.0,
            "token": 0,
            "delivered_at": 0.0,
        }
        return name, self._directory.read("queues", name) or empty

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            name, queue = self._queue(message.key)
            # A message with a known id and another body is not a duplicate: queued, it becomes a dead letter there.
            # One with other headers is: the first one's stay.
            if all([message.id, message.body] != known[:2] for known, _ in queue["messages"]):
                queue["messages"].append([_fields(message), 0])
                self._directory.write("queues", name, queue)

    def _deliver(self, limit: int, machines: Collection[str] | None) -> Sequence[Delivery]:
        if limit < 1:
            return ()
        now = self._clock()
        self._fire(now)
        queues = [(name, self._directory.read("queues", name)) for name in self._directory.names("queues")]
        wanted = [(name, queue) for name, queue in queues if machines is None or queue["key"][0] in machines]
        ready = [(name, queue) for name, queue in wanted if queue["messages"] and queue["free_at"] <= now]
        deliveries: list[Delivery] = []
        for name, queue in sorted(ready, key=lambda each: each[1]["delivered_at"]):
            if len(deliveries) < limit:
                deliveries += self._lease_batch(name, queue, limit - len(deliveries), now)
        return deliveries

    def _lease_batch(self, name: str, queue: dict[str, Any], limit: int, now: float) -> Sequence[Delivery]:
        batch = queue["messages"][:limit]
        for message in batch:
            message[1] += 1
        queue.update(
            leased=len(batch), free_at=now + self._lease, token=queue["token"] + 1, delivered_at=time.time_ns()
        )
        self._directory.write("queues", name, queue)
        key, token = Key(*queue["key"]), queue["token"]
        return [
            Delivery(Message(key, *message), f"{token}.{number}", attempts, queue["free_at"])
            for number, (message, attempts) in enumerate(batch)
        ]

    def _holds(self, queue: dict[str, Any], delivery: Delivery) -> bool:
        token = int(delivery.receipt.split(".")[0])
        held = [message for message, _ in queue["messages"][: queue["leased"]]]
        return queue["token"] == token and _fields(delivery.message) in held and self._clock() < queue["free_at"]

    def _fire(self, now: float) -> None:
        """Send the messages of due timers."""
        timers = [(name, self._directory.read("timers", name)) for name in self._directory.names("timers")]
        for name, (due, machine, instance, message) in sorted(timers, key=lambda each: each[1][0]):
            if due <= now:
                # Send before removing: a process killed in between sends it again under the same id, and loses nothing.
                self._send([Message(Key(machine, instance), *message)])
                self._directory.remove("timers", name)


class FileTimers:
    """Timers as files. `FileQueue.receive` fires those that are due."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def schedule(self, timer: Timer) -> None:
        to = timer.message
        with self._directory.lock():
            data = [timer.due, to.key.machine, to.key.instance, _fields(to)]
            self._directory.write("timers", _name(timer.id), data)

    def cancel(self, timer_id: str) -> None:
        with self._directory.lock():
            self._directory.remove("timers", _name(timer_id))


class FileBackend(ClosedOnExit):
    """A store, a queue and timers in the directory `path`.

    `clock` returns seconds since the epoch. Processes that share a directory share the clock of their machine, too.
    """

    def __init__(
        self,
        path: Path,
        lease: timedelta = timedelta(seconds=30),
        clock: Callable[[], float] = time.time,
        before_write: BeforeWrite = _nothing,
    ) -> None:
        directory = Directory(path, before_write)
        self.lease = lease
        self.resolution = timedelta()
        self.largest_message = MAX_MESSAGE_BYTES
        self.retention: timedelta | None = None  # files stay until they are deleted
        self.now = clock
        self.capabilities = frozenset(
            {
                Capability.SELECTIVE_RECEIVE,
                Capability.BACKLOG,
                Capability.NO_DELIVERY_AFTER_ACK,
                Capability.NO_DELIVERY_AFTER_CANCEL,
            }
        )
        self.store = FileStore(directory)
        self.queue = FileQueue(directory, lease.total_seconds(), clock)
        self.timers = FileTimers(directory)

    def finish(self, write: Write) -> None:
        """Do all of `write`, in the order that survives a crash at any point.

        The commit comes first, so that a conflict leaves no trace. The acknowledgement comes last: until then the
        messages are redelivered, and the host sends again what its record has in the outbox.
        """
        if write.stored is not None:
            self.store.commit(
                write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters
            )
        self.queue.send(write.sends)
        for timer in write.timers:
            self.timers.schedule(timer)
        for timer_id in write.cancels:
            self.timers.cancel(timer_id)
        self.queue.ack(write.acks)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        """Raise UnsupportedError: files cannot be written together."""
        raise UnsupportedError(f"{Capability.JOINT_FINISH} is not declared")

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        """Raise UnsupportedError: nobody is told of a file that changes."""
        raise UnsupportedError(f"{Capability.WATCH} is not declared")

    def close(self) -> None:
        """Do nothing: no file is kept open."""


def _keys(deliveries: Sequence[Delivery]) -> Sequence[Key]:
    return list(dict.fromkeys(delivery.message.key for delivery in deliveries))
