"""The contract between settled and a place to live: a store, a queue, timers, and the three of them as one backend.

An adapter's author can work from these docstrings alone; the conformance suite holds an adapter to each sentence.
Ports are synchronous and know nothing of statecharts: a store keeps text under a version, a queue hands text out
under a lease. An adapter makes one vendor call for one port call, translates the vendor's errors, and neither
retries nor encodes. The vendor's own automatic retries are switched off, because a retry that nobody sees makes a
lost answer look like a conflict.

Every method may raise `Unavailable` (nothing happened), `Unknown` (it may have happened) and `Denied`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from attrs import frozen

from settled.durable.messages import Message, Timer
from settled.errors import SettledError
from settled.key import Key


@frozen
class Index:
    """What a store may list instances by, without reading their bodies.

    `status` is the instance's status as XState names it (``active``, ``done``, ``error``, ``stopped``), ``halted``
    while it waits for an operator, or ``absent`` before its start. `tags` are the tags of its active nodes.
    `updated` is in seconds since the epoch.
    """

    status: str
    tags: tuple[str, ...] = ()
    updated: float = 0.0


DELETED = "deleted"
"""The status of a tombstone: what is left of an instance that was deleted."""


@frozen
class Stored:
    """What a store keeps for a key: its version, its text, and what it may be listed by.

    What is left of a deleted instance is a `Stored`, too: its version goes on, so that a worker that still remembers
    the old instance cannot commit over the next one, and its text says how far the old one had come in its queue.
    """

    version: int
    body: str
    index: Index

    @property
    def is_deleted(self) -> bool:
        """Whether this is a tombstone. A store lists no tombstones."""
        return self.index.status == DELETED


@frozen
class DeadLetter:
    """A message set aside: why, when (seconds since the epoch), and how it failed."""

    message: Message
    reason: str
    at: float
    detail: str = ""


@frozen
class Position:
    """The place of a message among all that were ever queued for its key: later ones have higher numbers.

    Numbers are compared within one `epoch` only. A queue's numbers never begin again within its epoch, neither when it
    was empty nor when the instance was deleted; what is created anew, moved or restored has another epoch.
    """

    epoch: str
    number: int


@frozen
class Delivery:
    """A message handed out under a lease.

    `receipt` names this hand-out to the queue. `attempt` counts the hand-outs of this message, from 1. `until` is when
    the lease ends, in seconds since the epoch by the queue's clock. `position` is None where the queue does not number
    its messages; where it does, it is the same in each hand-out of a message.
    """

    message: Message
    receipt: str
    attempt: int
    until: float
    position: Position | None = None


@frozen
class Write:
    """All that the end of a step changes, so that an atomic backend can change it at once.

    `stored` is committed if the version is still `expected`; None commits nothing. `holder` is a delivery in whose name
    that is done: a backend that declares `Capability.FENCED_FINISH` refuses the commit if that hand-out has lost the
    key. None commits by the version alone, as operators do. `bury` and `unbury` move dead letters within that commit.
    `sends`, `timers` and `cancels` (timer ids) are what the step owes; all are safe to repeat. `acks` is a prefix of
    the key's deliveries.
    """

    key: Key
    stored: Stored | None = None
    expected: int = 0
    bury: tuple[DeadLetter, ...] = ()
    unbury: int = 0
    sends: tuple[Message, ...] = ()
    timers: tuple[Timer, ...] = ()
    cancels: tuple[str, ...] = ()
    acks: tuple[Delivery, ...] = ()
    holder: Delivery | None = None


@frozen
class Finished:
    """What came of several writes: the errors of those that were refused, by key, and what was handed out."""

    refused: Mapping[Key, SettledError] = {}
    deliveries: tuple[Delivery, ...] = ()


class Capability(StrEnum):
    """What a backend may declare beyond the contract. Declared, it is tested; undeclared, it is `Unsupported`."""

    ATOMIC_FINISH = "atomic-finish"
    """`Backend.finish` is all or nothing."""

    JOINT_FINISH = "joint-finish"
    """`Backend.finish_all` finishes for several keys in one round trip."""

    FENCED_FINISH = "fenced-finish"
    """`Backend.finish` refuses a commit whose `Write.holder` holds its key no more, in the moment of the commit."""

    POSITIONS = "positions"
    """The queue numbers the messages of each key: every delivery has a `Position`."""

    SCAN = "scan"
    """`Store.scan` lists instances."""

    DEDUPLICATION = "deduplication"
    """The queue takes a message of a known id only once, even after it was acknowledged."""

    ACKED_STAYS_GONE = "acked-stays-gone"
    """A message that was acknowledged is never handed out again."""

    CANCELLED_STAYS_AWAY = "cancelled-stays-away"
    """A timer that was cancelled is not handed out any more, nor at its old time one that was replaced."""


@frozen
class Traits:
    """The properties of its backend that a turn may rely on. By default that is the contract and nothing more.

    `atomic`: a write happens as a whole, so what was sent with a commit is not owed after it. `fenced`: a commit is
    refused where its hand-out has lost the key. `resolution` is how far the time may be behind, in seconds.
    """

    atomic: bool = False
    fenced: bool = False
    resolution: float = 0.0


class Store(Protocol):
    """Keeps one text per key, under a version that only grows, and the dead letters of each key in their order."""

    def load(self, key: Key) -> Stored | None:
        """The newest committed state of `key`; None if it never had one. Reads are fresh, never cached."""
        ...

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        bury: Sequence[DeadLetter] = (),
        unbury: int = 0,
    ) -> None:
        """Write `stored` if the version is still `expected` (0: there is none); durable on return, all or nothing.

        ``stored.version`` is ``expected + 1``. In the same commit `unbury` dead letters are taken from the head of
        the key's list, and then `bury` is appended to its tail.

        Raises:
            Conflict: the version was not `expected`; nothing was written.
            TooLarge: nothing was written; the message says the size and the limit.
        """
        ...

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        """The dead letters of `key`, oldest first."""
        ...

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Put `tombstone` in the place of the text and the dead letters of `key` if the version is still `expected`.

        ``tombstone.version`` is ``expected + 1``; from now on `load` answers it. All or nothing, as `commit`.

        Raises:
            Conflict: the version was not `expected`; nothing was deleted.
        """
        ...

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Instances in the order of their keys, from the first one behind `after`; deleted ones are left out.

        Bodies may be left out (``body=""``). A declared capability.

        Raises:
            Unsupported: this store does not declare `Capability.SCAN`.
        """
        ...


class Queue(Protocol):
    """Hands out the messages of one key in order, to one holder at a time.

    For each key: messages are handed out in the order in which their sends completed; while one is leased, none of
    its key is handed out to anybody else; and nothing ever skips past a message that was not acknowledged. What is
    released or runs out of lease goes back to the place it had. A key that is leased, parked or failing never holds
    up another key, and a key with a long backlog does not starve the others.
    """

    def send(self, messages: Sequence[Message]) -> None:
        """Put `messages` into the queue, in this order; durable on return.

        A message of a known id keeps its first place and is not added again, as far back as the queue remembers. One
        that has a known id and another body is no repetition: it is refused, or queued for the record to find out.

        Raises:
            TooLarge: none of them was sent; the message says the size and the limit.
            IdReused: none of them was sent; an id is known, with another body.
        """
        ...

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        """Up to `limit` messages under a fresh lease, waiting up to `wait` seconds for the first one.

        Those of one key stand in their order and start with the oldest that was not acknowledged.
        """
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Forget the messages behind `deliveries`. A receipt whose lease was lost changes nothing."""
        ...

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give the leases back; the key is handed out again once `delay` seconds have passed.

        All deliveries of a key that are still held are released together. A receipt whose lease was lost changes
        nothing.
        """
        ...

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Let the leases end `lease` seconds from now.

        Raises:
            Conflict: a lease was lost: somebody else may hold the message now. The others were extended.
        """
        ...


class Timers(Protocol):
    """Puts messages into the queue when they are due: at least once, and never early by the backend's clock."""

    def schedule(self, timer: Timer) -> None:
        """Send ``timer.message`` at ``timer.due``; the same id again replaces what was scheduled under it.

        What cannot be taken back any more is sent at its old time too; only with `Capability.CANCELLED_STAYS_AWAY`
        does that never happen. The host drops it: what counts is whether the record still expects it.
        """
        ...

    def cancel(self, timer_id: str) -> None:
        """Do not send it, if that can still be prevented, as for `schedule`. An unknown id is no error."""
        ...


class Backend(Protocol):
    """A store, a queue and timers that were opened together."""

    @property
    def store(self) -> Store: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def timers(self) -> Timers: ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this backend declares beyond the contract."""
        ...

    @property
    def lease(self) -> float:
        """How long a fresh lease lasts, in seconds."""
        ...

    @property
    def resolution(self) -> float:
        """By how many seconds `now` may be behind the true time: what is scheduled is put off by as much."""
        ...

    def now(self) -> float:
        """The time by the backend's own clock, in seconds since the epoch: never ahead of it.

        It is that of the backend's last answer and what has passed since, so it costs no round trip. Where the backend
        has no clock but that of this machine, it is that one.
        """
        ...

    def finish(self, write: Write) -> None:
        """Do all of `write`, in the order of its fields.

        With `Capability.ATOMIC_FINISH` it is all or nothing. Without, it may stop after the commit or any later part,
        with whatever error that came to; each part is safe to repeat.

        Raises:
            Conflict: the version was not ``write.expected``; nothing was done.
            LeaseLost: the hand-out of ``write.holder`` has lost the key; nothing was done. Only with
                `Capability.FENCED_FINISH`.
        """
        ...

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        """`finish` each of `writes`, whose keys are distinct, and then hand out up to `receive` next deliveries.

        Each write is done or refused by itself; what it would have raised stands in the answer. Only what has become
        of all of them alike is raised. A declared capability.

        Raises:
            Unsupported: this backend does not declare `Capability.JOINT_FINISH`.
        """
        ...

    def close(self) -> None:
        """Give back connections and files. Closing twice is no error."""
        ...
