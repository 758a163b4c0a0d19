"""`BackendFixture`: a fresh environment for one check, with short methods for sending, receiving and asserting.

A backend with its own clock may need a moment: there the fixture waits for messages it expects, and before it concludes
that there is none. Where the harness controls time, nothing is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from attrs import define, field

from settled import ConflictError, Key, TooLargeError
from settled.durable import Backend, DeadLetter, Delivery, Event, Index, Message, Stored, Timer, encode
from settled.durable.ports import DELETED
from settled_conformance.contract.checked_backend import CheckedBackend
from settled_conformance.environment import Environment
from settled_conformance.harness import Harness

MAX_WAIT = 10.0
"""Real seconds within which a backend with its own clock must deliver an expected message."""


class GuaranteeBrokenError(AssertionError):
    """A guarantee was broken; the message says how."""


@define(eq=False)
class BackendFixture:
    """The environment of one check. `marks` names the situations that the check has brought about."""

    environment: Environment
    marks: set[str] = field(factory=set[str])
    versions: int = 0

    @property
    def harness(self) -> Harness:
        """The harness under test."""
        return self.environment.harness

    @property
    def backend(self) -> CheckedBackend:
        """The first handle of the environment."""
        return self.environment.handles[0]

    @property
    def lease(self) -> float:
        """The length of a lease in seconds."""
        return self.environment.lease

    @property
    def owns_time(self) -> bool:
        """Whether time passes in `advance` only."""
        return self.harness.owns_time

    def many(self, number: int, few: int) -> int:
        """Return `number` where calls are cheap, `few` where each is a request to an emulator or a service."""
        return number if self.harness.is_quick else few

    def fast_forward(self, to: Key, number: int) -> None:
        """Put `to`, which was committed once, into the state after `number` commits and as many messages."""
        self.harness.fast_forward(to, number)
        self.environment.contract.store_checker.fast_forward(to, number)

    def open_handle(self) -> CheckedBackend:
        """Open another handle on the same environment, as another process would."""
        return self.environment.open()

    def mark(self, *names: str) -> None:
        """Record that these situations really occurred."""
        self.marks.update(names)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass by the backend's clock."""
        self.harness.advance(seconds)

    def reset(self) -> None:
        """Continue with a fresh environment. Handles opened before are closed."""
        self.environment.close()
        self.environment = Environment.fresh(self.harness)

    # Sending and receiving

    def send(self, *messages: Message, through: CheckedBackend | None = None) -> None:
        """Send `messages` in one call each."""
        for message in messages:
            (through or self.backend).queue.send([message])

    def send_together(self, batch: Sequence[Message], size: int = 100) -> None:
        """Send `batch` in calls of `size` messages."""
        for start in range(0, len(batch), size):
            self.backend.queue.send(batch[start : start + size])

    def receive(self, limit: int = 10, least: int = 1, through: CheckedBackend | None = None) -> list[Delivery]:
        """Receive up to `limit` messages, in as many calls as are needed for at least `least` of them."""
        handle, found = through or self.backend, list[Delivery]()
        end = time.monotonic() + MAX_WAIT
        while len(found) < least:
            more = handle.queue.receive(limit - len(found), 0.0 if self.owns_time else 0.2)
            found += more
            if not more and (self.owns_time or time.monotonic() > end):
                break
        return found

    def receive_raw(self, backend: Backend, limit: int = 10) -> list[Delivery]:
        """Receive through an unchecked handle: the model cannot follow calls from several threads."""
        end = time.monotonic() + MAX_WAIT
        while True:
            found = list(backend.queue.receive(limit, 0.0 if self.owns_time else 0.2))
            if found or self.owns_time or time.monotonic() > end:
                return found

    def receives(self, *ids: str, through: CheckedBackend | None = None, limit: int = 10) -> list[Delivery]:
        """Receive, and require exactly the messages `ids` in this order."""
        found = self.receive(limit, len(ids), through)
        self.require_equal([delivery.message.id for delivery in found], list(ids), "delivered")
        return found

    def receives_nothing(self, through: CheckedBackend | None = None, limit: int = 10) -> None:
        """Receive, and require that nothing is delivered."""
        handle = through or self.backend
        found = [delivery.message.id for delivery in handle.queue.receive(limit, 0.0 if self.owns_time else 0.3)]
        self.require_equal(found, [], "delivered")

    def drain(self, through: CheckedBackend | None = None) -> list[str]:
        """Receive and acknowledge until nothing is left; return the ids in order."""
        handle, ids = through or self.backend, list[str]()
        while found := self.receive(through=handle):
            ids += [delivery.message.id for delivery in found]
            handle.queue.ack(found)
        return ids

    # Committing

    def fits(self, call: Callable[[], object]) -> bool:
        """Make `call`; return False if it fails with TooLargeError."""
        try:
            call()
        except TooLargeError:
            return False
        return True

    def commit(
        self, key: Key, version: int, through: CheckedBackend | None = None, add_dead_letters: Sequence[DeadLetter] = ()
    ) -> Stored:
        """Commit `version` of `key` over its predecessor."""
        written = stored(version)
        (through or self.backend).store.commit(key, written, version - 1, add_dead_letters)
        return written

    # Assertions

    def require(self, condition: object, how: str) -> None:
        """Raise GuaranteeBrokenError unless `condition` is true."""
        if not condition:
            raise GuaranteeBrokenError(how)

    def require_equal(self, found: object, expected: object, what: str) -> None:
        """Raise GuaranteeBrokenError unless `found` equals `expected`."""
        self.require(found == expected, f"{what}: {found!r}, expected {expected!r}")


def key(instance: str = "a", machine: str = "m") -> Key:
    """Return a key; no machine reads its messages."""
    return Key(machine, instance)


def message(id: str, to: Key | None = None, body: str | None = None) -> Message:
    """Return a message; no machine reads its body."""
    return Message(to or key(), id, body if body is not None else encode(Event({"type": "E", "id": id})))


def messages(ids: str, to: Key | None = None) -> list[Message]:
    """Return a message for each word of `ids`."""
    return [message(id, to) for id in ids.split()]


def conflicts(call: Callable[[], object]) -> bool:
    """Return whether `call` fails with ConflictError."""
    try:
        call()
    except ConflictError:
        return True
    return False


def stored(version: int, text: str = "") -> Stored:
    """Return a record of this version; no machine reads it."""
    return Stored(version, f'{{"version":{version},"text":"{text}"}}', Index("active", ("a tag",), 12.5))


def tombstone(version: int) -> Stored:
    """Return a tombstone of this version."""
    return Stored(version, f'{{"version":{version}}}', Index(DELETED, (), 13.5))


def dead_letter(id: str, to: Key | None = None, body: str | None = None) -> DeadLetter:
    """Return a dead letter."""
    return DeadLetter(message(id, to, body), "it failed", 11.25, "again and again")


def timer(id: str, due: float, to: Key | None = None) -> Timer:
    """Return a timer whose message has the same id."""
    return Timer(id, message(id, to), due)


def version_of(loaded: Stored | None) -> int:
    """Return the version of a load, 0 if there was no record."""
    return 0 if loaded is None else loaded.version


def ids_of(items: Sequence[Delivery | DeadLetter]) -> list[str]:
    """Return the ids of the messages, in order."""
    return [each.message.id for each in items]
