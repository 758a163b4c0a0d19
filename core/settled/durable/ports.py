"""The contract between settled and a backend: a store, a queue, timers, and the three of them opened together.

These docstrings are all that an adapter author needs; the conformance suite checks every sentence of them. The ports
are synchronous and know nothing of statecharts: a store keeps text under a version, and a queue delivers text under a
lease. An adapter makes one vendor call per port call, translates the vendor's errors, and neither retries nor encodes.
Disable the vendor client's automatic retries: a hidden retry of a commit whose response was lost looks like a conflict.

Instants are float seconds since the epoch. So the durations of calls (`wait`, `delay`, `lease`) are float seconds too:
they are added to instants, and vendors take numbers. What a backend says of itself is a timedelta, as everywhere else.

Any method may raise UnavailableError (nothing happened; CredentialsError if the credentials have expired),
OutcomeUnknownError (it may have happened), AccessDeniedError, BackendConfigError, BackendReplacedError if the data are
no longer those that were opened (an adapter that can notice it must: a deleted file or an emptied server would take
messages that nobody ever delivers), and, once the backend is closed, BackendClosedError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

from attrs import frozen

from settled.durable.limits import MAX_MESSAGE_BYTES
from settled.durable.messages import Message, Timer
from settled.errors import ConflictError, SettledError
from settled.key import Key


class Index(NamedTuple):
    """The fields by which a store may list instances without reading their bodies.

    Attributes:
        status: one of `STATUSES`: XState's status of the instance (``active``, ``done``, ``error``, ``stopped``),
            ``halted`` while it waits for an operator, ``absent`` before its start; or `DELETED`.
        tags: the tags of its active nodes.
        updated: the time of the commit, in seconds since the epoch.
    """

    status: str
    tags: tuple[str, ...] = ()
    updated: float = 0.0


STATUSES = ("active", "done", "error", "stopped", "halted", "absent")
"""The statuses of instances."""

DELETED = "deleted"
"""The status of a tombstone, which replaces the record of a deleted instance."""


@frozen
class Stored:
    """The stored state of a key: its version, its text, and the fields it is listed by.

    Deleting an instance leaves a tombstone, which is also a `Stored`. Versions continue across it, so a worker that
    still has the old instance cached cannot commit over the next one. Its text keeps the high-water mark
    and the dedup window of the old instance.
    """

    version: int
    body: str
    index: Index

    @property
    def is_deleted(self) -> bool:
        """Whether this is a tombstone. A store lists no tombstones."""
        return self.index.status == DELETED


class CommitConflictError(ConflictError):
    """A commit was refused, and the refusal tells the state for which it was.

    A store that learns both in one answer may raise this instead of ConflictError, to save its caller a load.

    Attributes:
        stored: the latest committed state of the key.
        now: the backend's time at the refusal, in seconds since the epoch.
    """

    def __init__(self, text: str, stored: Stored, now: float) -> None:
        super().__init__(text)
        self.stored, self.now = stored, now


@frozen
class DeadLetter:
    """A message that was dead-lettered: the reason, the time (seconds since the epoch), and the error's details."""

    message: Message
    reason: str
    at: float
    detail: str = ""


POSTPONED = "postponed"
"""The reason of a dead letter that waits for the end of a suspended turn, and is taken then, without an operator."""


@frozen
class Position:
    """The position of a message among all messages ever queued for its key; later messages have higher numbers.

    Numbers are comparable only within one `epoch`. Within an epoch they never restart, not even after the queue was
    empty or the instance was deleted. A queue that is recreated, moved or restored from a backup has a new epoch.
    """

    epoch: str
    number: int


@frozen
class Delivery:
    """One delivery of a message, under a lease.

    Attributes:
        message: the message.
        receipt: identifies this delivery to the queue, like an SQS receipt handle; a redelivery has another one.
        attempt: how many times this message has been delivered, counting from 1; estimated if the queue does not count.
        lease_until: when the lease ends, in seconds since the epoch by the queue's clock.
        position: the message's position, the same in every delivery of it; None if the queue does not number messages.
    """

    message: Message
    receipt: str
    attempt: int
    lease_until: float
    position: Position | None = None


@frozen
class Backlog:
    """The messages of a machine that wait for a receiver, and are neither leased nor paused.

    Attributes:
        machine: the id of the machine.
        messages: how many there are.
        oldest: when the oldest of them was sent, or since when none of the machine's was delivered, whichever the queue
            keeps; in seconds since the epoch. None if it keeps neither.
    """

    machine: str
    messages: int
    oldest: float | None = None


@frozen
class Write:
    """Everything that the end of a step changes, in one value, so that an atomic backend can write it at once.

    Attributes:
        key: the key of the instance.
        stored: the state to commit if the version is still `expected`; None to commit nothing.
        expected: the version that `stored` replaces; 0 if the key has none.
        add_dead_letters: dead letters to append, as in `Store.commit`.
        remove_dead_letters: the number of dead letters to remove from the head, as in `Store.commit`.
        sends: messages to send. Safe to repeat, as are `timers` and `cancels`.
        timers: timers to schedule.
        cancels: the ids of timers to cancel.
        acks: deliveries to acknowledge: a prefix of the key's unacknowledged ones.
        holder: the delivery that authorizes the commit. A backend with `Capability.FENCED_FINISH` fails the commit with
            LeaseLostError if this delivery no longer has the lease of the key. None commits by the version alone, as
            operators do.
    """

    key: Key
    stored: Stored | None = None
    expected: int = 0
    add_dead_letters: tuple[DeadLetter, ...] = ()
    remove_dead_letters: int = 0
    sends: tuple[Message, ...] = ()
    timers: tuple[Timer, ...] = ()
    cancels: tuple[str, ...] = ()
    acks: tuple[Delivery, ...] = ()
    holder: Delivery | None = None


@frozen
class FinishResult:
    """The result of `Backend.finish_all`: the errors of the writes that failed, by key, and the next deliveries."""

    errors: Mapping[Key, SettledError] = {}
    deliveries: tuple[Delivery, ...] = ()


class Capability(StrEnum):
    """A guarantee that a backend may declare beyond the contract.

    The conformance suite tests each declared capability. A method that belongs to an undeclared one raises
    UnsupportedError.
    """

    ATOMIC_FINISH = "atomic-finish"
    """`Backend.finish` is all or nothing."""

    JOINT_FINISH = "joint-finish"
    """`Backend.finish_all` performs the writes of several keys in one round trip."""

    FENCED_FINISH = "fenced-finish"
    """`Backend.finish` checks, atomically with the commit, that `Write.holder` still has the lease of the key."""

    POSITIONS = "positions"
    """The queue numbers the messages of each key: every delivery has a `Position`."""

    SELECTIVE_RECEIVE = "selective-receive"
    """A receive for some machines delivers messages of no other, however many of those wait."""

    BACKLOG = "backlog"
    """`Queue.backlog` counts what waits, and `Queue.withdraw` takes messages out as if they had not been sent."""

    SCAN = "scan"
    """`Store.scan` lists instances in the order of their keys."""

    UNORDERED_SCAN = "unordered-scan"
    """`Store.scan` lists instances in an order of the store's own. A backend declares this, or `SCAN`, or neither."""

    WATCH = "watch"
    """`Backend.watch` tells of each commit of a key, whichever process makes it."""

    DEDUPLICATION = "deduplication"
    """A message that repeats an earlier one is not queued again, even after the first was acknowledged."""

    NO_DELIVERY_AFTER_ACK = "no-delivery-after-ack"
    """An acknowledged message is never delivered again."""

    NO_DELIVERY_AFTER_CANCEL = "no-delivery-after-cancel"
    """The message of a cancelled timer is never delivered, nor that of a replaced timer at its old time."""

    EXPIRY = "expiry"
    """The store may delete the record of an instance that has ended and has no dead letters.

    The key then has no version to continue, so the first version of the next instance comes from the clock. See
    `Traits.first_version`.
    """


@frozen
class Traits:
    """The properties of a backend that a turn may rely on; by default, the contract and nothing more.

    Attributes:
        atomic: a write is all or nothing, so its sends and timers need not be repeated once its commit is known.
        fenced: a commit fails if its delivery no longer has the lease of the key.
        resolution: by how much the backend's clock may be behind, in seconds; see `Backend.resolution`.
        largest_message: how many bytes the body of a message may have; see `Backend.largest_message`.
        expiry: a record may vanish, and its version with it; see `Capability.EXPIRY`.
        retention: for how many seconds the queue keeps a message, None if until it is taken; see `Backend.retention`.
    """

    atomic: bool = False
    fenced: bool = False
    resolution: float = 0.0
    largest_message: int = MAX_MESSAGE_BYTES
    expiry: bool = False
    retention: float | None = None

    @classmethod
    def of(cls, backend: Backend) -> Self:
        """Return the properties of `backend`."""
        declared, retention = backend.capabilities, backend.retention
        return cls(
            atomic=Capability.ATOMIC_FINISH in declared,
            fenced=Capability.FENCED_FINISH in declared,
            resolution=backend.resolution.total_seconds(),
            largest_message=backend.largest_message,
            expiry=Capability.EXPIRY in declared,
            retention=None if retention is None else retention.total_seconds(),
        )

    def first_version(self, now: float) -> int:
        """Return the version of the first commit of a key that has no record at `now`, in seconds since the epoch.

        It is 1. Where a record may vanish, it is the number of milliseconds until `now`, which is greater than all
        versions of an instance that has vanished by then: a worker that still has one of those cannot commit.
        """
        return max(1, int(now * 1000)) if self.expiry else 1


class Store(Protocol):
    """One text per key, under a version that only increases, and the dead letters of each key in order."""

    def load(self, key: Key) -> Stored | None:
        """Return the latest committed state of `key`, or None if it never had one.

        Reads are strongly consistent and never cached.
        """
        ...

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        """Write `stored` if the current version is still `expected` (0 if the key has none).

        All or nothing, and durable on return. ``stored.version`` is greater than `expected`: by one, except that the
        first version of a key may be any. The same commit first removes `remove_dead_letters` dead letters from the
        head of the key's list and then appends `add_dead_letters` to its tail.

        Raises:
            ConflictError: the version was not `expected`; nothing was written. It may be a `CommitConflictError`.
            TooLargeError: nothing was written; the error message states the size and the limit.
        """
        ...

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        """Return the dead letters of `key`, oldest first."""
        ...

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Replace the text and the dead letters of `key` with `tombstone` if the version is still `expected`.

        All or nothing, as `commit` is, and with versions as there. From then on `load` returns `tombstone`.

        Raises:
            ConflictError: the version was not `expected`; nothing was deleted.
        """
        ...

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Return up to `limit` instances in key order, beginning with the first key greater than `after`.

        Deleted instances are not listed. Bodies may be omitted (``body=""``). With `Capability.UNORDERED_SCAN` the
        order is the store's own: always the same, so that the instances behind `after` are those not yet listed.

        Raises:
            UnsupportedError: the backend declares neither `Capability.SCAN` nor ``UNORDERED_SCAN``.
        """
        ...


class Queue(Protocol):
    """Delivers the messages of each key in order, to one consumer at a time, like an SQS FIFO message group.

    For each key, messages are delivered in the order in which their sends completed. While any message of a key is
    leased, no other consumer receives a message of that key. The queue never delivers past an unacknowledged message:
    a message that is released, or whose lease expires, returns to the position it had. A key that is leased, parked or
    failing never delays another key, and a key with a long backlog does not starve the others.

    A message comes back unchanged, with its body and its headers, in each delivery. Headers are bounded: see
    `settled.durable.headers`, which can also write them as one text.
    """

    def send(self, messages: Sequence[Message]) -> None:
        """Append `messages` to the queue in this order; durable on return.

        A message with the id and body of an earlier one is not added again, and the earlier one keeps its position, for
        as long as the queue remembers its id. A known id with another body is not a repetition: the send fails with
        IdReusedError, or the message is queued, and the record detects the reuse. It is never silently dropped. Headers
        do not count: a repetition with other ones is a repetition, and the first ones stay.

        Raises:
            TooLargeError: no message was sent; the error message states the size and the limit.
            IdReusedError: no message was sent; one of the ids is known with another body.
        """
        ...

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        """Receive up to `limit` messages under a new lease, waiting up to `wait` seconds for the first one.

        The deliveries of a key are in order and begin with its oldest unacknowledged message.

        Args:
            limit: how many messages to receive at most.
            wait: how long to wait for the first one, in seconds.
            machines: the ids of the machines whose messages are wanted; None for those of all. With
                `Capability.SELECTIVE_RECEIVE` no others are delivered or leased, and the wanted ones do not wait for
                them. Without it, others may be delivered too: the caller releases them.
        """
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge `deliveries`, removing their messages. A delivery whose lease was lost has no effect."""
        ...

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Return `deliveries` to the queue; their key is delivered again once `delay` seconds have passed.

        The caller releases all deliveries of a key that are still leased in one call. A delivery whose lease was lost
        has no effect.
        """
        ...

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Extend the leases so that they end `lease` seconds from now.

        Raises:
            ConflictError: at least one lease was lost, and another consumer may have its message; or a message was
                acknowledged. The other leases were extended.
        """
        ...

    def backlog(self) -> Sequence[Backlog]:
        """Return the backlog of each machine that has one, ordered by the ids of the machines.

        It is a count for people: messages that come and go meanwhile may be counted or not.

        Raises:
            UnsupportedError: the backend does not declare `Capability.BACKLOG`.
        """
        ...

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Remove the messages of `deliveries` as `ack` does, and forget their ids, so that they can be sent again.

        The caller must not withdraw a message that its instance has begun: a record relies on the queue to deliver it
        again until its turn is over and its effects are performed.

        A delivery whose lease was lost has no effect.

        Raises:
            UnsupportedError: the backend does not declare `Capability.BACKLOG`.
        """
        ...


class Timers(Protocol):
    """Sends messages to the queue when they are due: at least once, and never early by the backend's clock."""

    def schedule(self, timer: Timer) -> None:
        """Send ``timer.message`` at ``timer.due``, replacing any timer that has the same id.

        If it is too late to withdraw the replaced timer, its message is also sent, at its old time; with
        `Capability.NO_DELIVERY_AFTER_CANCEL` this never happens. Such a message is harmless: the turn ignores a timer
        that the record no longer expects.
        """
        ...

    def cancel(self, timer_id: str) -> None:
        """Cancel the timer unless, as in `schedule`, it is too late. An unknown id is not an error."""
        ...


class ClosedOnExit:
    """Mixin for what has a `close`: a ``with`` statement closes it at the end. Every backend inherits from it."""

    __slots__ = ()

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(Protocol):
    """A store, a queue and timers, opened together. An adapter's class inherits from `ClosedOnExit`."""

    @property
    def store(self) -> Store: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def timers(self) -> Timers: ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities that this backend declares."""
        ...

    @property
    def lease(self) -> timedelta:
        """The duration of a new lease."""
        ...

    @property
    def resolution(self) -> timedelta:
        """By how much `now` may be behind the true time. A turn adds this to the due time of every timer."""
        ...

    @property
    def largest_message(self) -> int:
        """How many bytes the body of a message may have, in UTF-8. Clients and turns refuse to send a larger one.

        The queue takes every such message, with the longest key, id and headers and however its characters have to be
        escaped, and with `MAX_SENDER_BYTES` more: a message that it refused after its step was committed, it would
        refuse for ever.
        """
        ...

    @property
    def retention(self) -> timedelta | None:
        """For how long the queue keeps a message that is not acknowledged; None if for ever.

        Where it is not for ever, a turn that has to wait for long waits outside the queue, and so does what came after
        its message: see `Policy.suspend_after`.
        """
        ...

    def now(self) -> float:
        """Return the time by the backend's own clock, in seconds since the epoch, and never ahead of that clock.

        It is the time of the backend's last response plus the time elapsed since, so it costs no round trip. A backend
        that has no clock of its own uses the local one.
        """
        ...

    def finish(self, write: Write) -> None:
        """Perform `write`: the commit with its dead letters, then sends, timers, cancels and acknowledgements.

        The order matters: an acknowledgement before the commit would lose the message in a crash. With
        `Capability.ATOMIC_FINISH` the write is all or nothing. Without it, it may stop after the commit or any later
        part with the error of the part that failed; every part is safe to repeat.

        Raises:
            ConflictError: the version was not ``write.expected``; nothing was done.
            LeaseLostError: ``write.holder`` no longer has the lease of its key; nothing was done. Only with
                `Capability.FENCED_FINISH`.
        """
        ...

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        """Perform each of `writes` as `finish` does, then receive up to `receive` messages, of `machines` if given.

        The keys of `writes` are distinct, and each write succeeds or fails on its own: the result has the error that
        `finish` would have raised for it. Only an error that applies to all writes alike is raised.

        Raises:
            UnsupportedError: the backend does not declare `Capability.JOINT_FINISH`.
        """
        ...

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        """Within this block, call `changed` soon after each commit to `key`, a deletion included, by any process.

        Several commits may be told by one call, and a call may come without a commit; but whoever reads the record
        after the last call, and after the block began, has the newest state. `changed` must return at once, and
        may be called in any thread, in that of the committer too. It is not called before the commit can be read.

        Raises:
            UnsupportedError: the backend does not declare `Capability.WATCH`.
        """
        ...

    def close(self) -> None:
        """Close connections and files. Closing twice is not an error."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
