"""The bench: one fresh place, and short words for what is done at it.

A proof reads as a list of what happens and what must hold. What is received is waited for where a backend may need a
moment; that nothing is received is believed at once where time is ours, and after a moment elsewhere.
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
"""How many real seconds a backend with its own clock has to hand out what it owes."""


class GuaranteeBrokenError(AssertionError):
    """A guarantee does not hold; the message says how."""


@define(eq=False)
class BackendFixture:
    """A place to prove something at."""

    place: Environment
    marks: set[str] = field(factory=set[str])
    versions: int = 0

    @property
    def harness(self) -> Harness:
        """The harness under test."""
        return self.place.harness

    @property
    def backend(self) -> CheckedBackend:
        """The first handle."""
        return self.place.handles[0]

    @property
    def lease(self) -> float:
        """How long a lease lasts."""
        return self.place.lease

    @property
    def owns_time(self) -> bool:
        """Whether time passes only when we let it."""
        return self.harness.owns_time

    def many(self, number: int, few: int) -> int:
        """`number`, where calls cost little; `few` where each of them is a request to an emulator or a service."""
        return number if self.harness.is_quick else few

    def fast_forward(self, to: Key, number: int) -> None:
        """Let `to`, which was committed once, stand as after `number` commits and as many messages."""
        self.harness.fast_forward(to, number)
        self.place.contract.store_checker.fast_forward(to, number)

    def open_handle(self) -> CheckedBackend:
        """Another handle on the same place."""
        return self.place.open()

    def mark(self, *names: str) -> None:
        """These things have really been tried."""
        self.marks.update(names)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.harness.advance(seconds)

    def reset(self) -> None:
        """Go on at a fresh place."""
        self.place.close()
        self.place = Environment.fresh(self.harness)

    # Sending and receiving

    def send(self, *messages: Message, through: CheckedBackend | None = None) -> None:
        """Send `messages` one after the other."""
        for message in messages:
            (through or self.backend).queue.send([message])

    def send_together(self, batch: Sequence[Message], size: int = 100) -> None:
        """Send `batch` in few calls."""
        for start in range(0, len(batch), size):
            self.backend.queue.send(batch[start : start + size])

    def receive(self, limit: int = 10, least: int = 1, through: CheckedBackend | None = None) -> list[Delivery]:
        """What is handed out: at least `least` messages, of one hand-out or of several."""
        handle, found = through or self.backend, list[Delivery]()
        end = time.monotonic() + MAX_WAIT
        while len(found) < least:
            more = handle.queue.receive(limit - len(found), 0.0 if self.owns_time else 0.2)
            found += more
            if not more and (self.owns_time or time.monotonic() > end):
                break
        return found

    def receive_raw(self, backend: Backend, limit: int = 10) -> list[Delivery]:
        """What is handed out by a handle that nobody watches, because several threads use it."""
        end = time.monotonic() + MAX_WAIT
        while True:
            found = list(backend.queue.receive(limit, 0.0 if self.owns_time else 0.2))
            if found or self.owns_time or time.monotonic() > end:
                return found

    def receives(self, *ids: str, through: CheckedBackend | None = None, limit: int = 10) -> list[Delivery]:
        """What is handed out, which must be the messages `ids` in this order."""
        found = self.receive(limit, len(ids), through)
        self.require_equal([delivery.message.id for delivery in found], list(ids), "handed out")
        return found

    def receives_nothing(self, through: CheckedBackend | None = None, limit: int = 10) -> None:
        """Nothing must be handed out."""
        handle = through or self.backend
        found = [delivery.message.id for delivery in handle.queue.receive(limit, 0.0 if self.owns_time else 0.3)]
        self.require_equal(found, [], "handed out")

    def drain(self, through: CheckedBackend | None = None) -> list[str]:
        """Receive and acknowledge until nothing comes any more; the ids, in order."""
        handle, ids = through or self.backend, list[str]()
        while found := self.receive(through=handle):
            ids += [delivery.message.id for delivery in found]
            handle.queue.ack(found)
        return ids

    # Committing

    def fits(self, call: Callable[[], object]) -> bool:
        """Do `call`, and say whether the backend had room for it."""
        try:
            call()
        except TooLargeError:
            return False
        return True

    def commit(
        self, key: Key, version: int, through: CheckedBackend | None = None, bury: Sequence[DeadLetter] = ()
    ) -> Stored:
        """Commit `version` of `key`, over the one before it."""
        written = stored(version)
        (through or self.backend).store.commit(key, written, version - 1, bury)
        return written

    # Holding

    def require(self, condition: object, how: str) -> None:
        """Go on only if `condition` is true."""
        if not condition:
            raise GuaranteeBrokenError(how)

    def require_equal(self, found: object, expected: object, what: str) -> None:
        """Go on only if both are equal."""
        self.require(found == expected, f"{what}: {found!r}, expected {expected!r}")


def key(instance: str = "a", machine: str = "m") -> Key:
    """A key for messages that no machine reads."""
    return Key(machine, instance)


def message(id: str, to: Key | None = None, body: str | None = None) -> Message:
    """A message whose text nobody reads."""
    return Message(to or key(), id, body if body is not None else encode(Event({"type": "E", "id": id})))


def messages(ids: str, to: Key | None = None) -> list[Message]:
    """A message for each word."""
    return [message(id, to) for id in ids.split()]


def is_refused(call: Callable[[], object]) -> bool:
    """Whether `call` ends in a conflict."""
    try:
        call()
    except ConflictError:
        return True
    return False


def stored(version: int, text: str = "") -> Stored:
    """A version that no machine reads."""
    return Stored(version, f'{{"version":{version},"text":"{text}"}}', Index("active", ("a tag",), 12.5))


def tombstone(version: int) -> Stored:
    """What is left of a key that was deleted with this version."""
    return Stored(version, f'{{"version":{version}}}', Index(DELETED, (), 13.5))


def dead_letter(id: str, to: Key | None = None, body: str | None = None) -> DeadLetter:
    """A dead letter."""
    return DeadLetter(message(id, to, body), "it failed", 11.25, "again and again")


def timer(id: str, due: float, to: Key | None = None) -> Timer:
    """A timer and its message, which bears the same id."""
    return Timer(id, message(id, to), due)


def version_of(loaded: Stored | None) -> int:
    """Which version was read; 0 if there is none."""
    return 0 if loaded is None else loaded.version


def ids_of(handed: Sequence[Delivery | DeadLetter]) -> list[str]:
    """The ids of messages, in their order."""
    return [each.message.id for each in handed]
