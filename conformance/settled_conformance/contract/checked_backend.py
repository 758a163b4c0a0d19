"""`CheckedBackend`: a wrapper that passes every call to a backend and checks its answer against the contract.

All handles of one environment share a `Contract`, because the guarantees hold across handles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

from attrs import define, field, frozen

from settled import ConflictError, IdReusedError, Key, LeaseLostError, SettledError, TooLargeError, UnavailableError
from settled.durable import (
    Backend,
    Backlog,
    Capability,
    ClosedOnExit,
    DeadLetter,
    Delivery,
    FinishResult,
    Message,
    Queue,
    Store,
    Stored,
    Timer,
    Timers,
    Write,
)
from settled_conformance.contract.queue_checker import QueueChecker
from settled_conformance.contract.store_checker import State, StoreChecker

# After any other error a call may have happened or not: both outcomes stay possible in the model.
NOTHING_HAPPENED = (UnavailableError, TooLargeError, LeaseLostError, IdReusedError)


@frozen
class Violation:
    """The id of a guarantee, and how it was broken."""

    guarantee: str
    how: str


@define(eq=False)
class Contract:
    """The model of one environment, and the violations found in it.

    `lease` and `tolerance` are in seconds. Each of `listeners` is called with the text of a violation.
    `stale_commit_guarantee` is the guarantee that is reported as broken when a commit over an old version succeeds.
    """

    capabilities: frozenset[Capability]
    lease: float
    tolerance: float
    now: Callable[[], float]
    violations: list[Violation] = field(factory=list[Violation])
    listeners: list[Callable[[str], None]] = field(factory=list["Callable[[str], None]"])
    stale_commit_guarantee: str = "R6"
    queue_checker: QueueChecker = field(init=False)
    store_checker: StoreChecker = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.queue_checker = QueueChecker(self.report, self.capabilities, self.lease, self.tolerance)
        self.store_checker = StoreChecker(self.report)

    def report(self, guarantee: str, how: str) -> None:
        """Record a violation of `guarantee`, and tell the listeners."""
        self.violations.append(Violation(guarantee, how))
        for listener in self.listeners:
            listener(f"{how}  << {guarantee}")

    def check_quiescent(self) -> None:
        """Report messages and timers that are left although nothing is delivered any more."""
        self.queue_checker.check_quiescent(self.now())


@define(eq=False)
class CheckedStore:
    """A store whose answers are checked."""

    store: Store
    contract: Contract

    def load(self, key: Key) -> Stored | None:
        found = self.store.load(key)
        self.contract.store_checker.loaded(key, found)
        return found

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        store_checker = self.contract.store_checker
        after = store_checker.after(key, stored, tuple(add_dead_letters), remove_dead_letters)
        try:
            self.store.commit(key, stored, expected, add_dead_letters, remove_dead_letters)
        except ConflictError as error:
            store_checker.refused(key, expected, error)
            raise
        except NOTHING_HAPPENED:
            raise
        except BaseException:
            store_checker.indeterminate(key, after, expected)
            raise
        store_checker.committed(key, after, expected, self.contract.stale_commit_guarantee)
        if add_dead_letters:
            self.contract.queue_checker.queue_of(key).had_dead_letter = True

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        found = self.store.dead_letters(key)
        self.contract.store_checker.dead_letters_read(key, found)
        return found

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        try:
            self.store.delete(key, tombstone, expected)
        except ConflictError as error:
            self.contract.store_checker.refused(key, expected, error)
            raise
        self.contract.store_checker.deleted(key, tombstone, expected, self.store.load(key))

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        return self.store.scan(machine, after, limit, status)


@define(eq=False)
class CheckedQueue:
    """A queue whose answers are checked."""

    queue: Queue
    contract: Contract

    def send(self, messages: Sequence[Message]) -> None:
        with Sending(self.contract, tuple(messages), "send"):
            self.queue.send(messages)

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        before = self.contract.now()
        deliveries = self.queue.receive(limit, wait, machines)
        self.contract.queue_checker.received(deliveries, before, self.contract.now(), machines)
        if len(deliveries) > limit:
            self.contract.report("F8", f"{len(deliveries)} messages were delivered where {limit} were requested")
        return deliveries

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        now = self.contract.now()
        self.queue.ack(deliveries)
        self.contract.queue_checker.acked(deliveries, now)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        now = self.contract.now()
        self.queue.release(deliveries, delay)
        self.contract.queue_checker.released(deliveries, delay, now)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        now = self.contract.now()
        try:
            self.queue.extend(deliveries, lease)
        except ConflictError:
            self.contract.queue_checker.extended(deliveries, lease, now, refused=True)
            raise
        self.contract.queue_checker.extended(deliveries, lease, now, refused=False)

    def backlog(self) -> Sequence[Backlog]:
        return self.queue.backlog()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        now = self.contract.now()
        self.queue.withdraw(deliveries)
        self.contract.queue_checker.withdrawn(deliveries, now)


@define(eq=False)
class Sending:
    """A context manager around a send: records the messages as sent, not sent, or indeterminate, by how it ends."""

    contract: Contract
    messages: tuple[Message, ...]
    source: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, NOTHING_HAPPENED):
            return
        self.contract.queue_checker.sent(
            self.messages, self.source, self.contract.now(), indeterminate=kind is not None
        )


@define(eq=False)
class CheckedTimers:
    """Timers whose calls are recorded."""

    timers: Timers
    contract: Contract

    def schedule(self, timer: Timer) -> None:
        self.timers.schedule(timer)
        self.contract.queue_checker.scheduled_timer(timer, self.contract.now())

    def cancel(self, timer_id: str) -> None:
        now = self.contract.now()
        self.timers.cancel(timer_id)
        self.contract.queue_checker.cancelled_timer(timer_id, now)


@define(eq=False)
class CheckedBackend(ClosedOnExit):
    """A backend whose answers are checked."""

    backend: Backend
    contract: Contract
    store: CheckedStore = field(init=False)
    queue: CheckedQueue = field(init=False)
    timers: CheckedTimers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = CheckedStore(self.backend.store, self.contract)
        self.queue = CheckedQueue(self.backend.queue, self.contract)
        self.timers = CheckedTimers(self.backend.timers, self.contract)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.backend.capabilities

    @property
    def lease(self) -> timedelta:
        return self.backend.lease

    @property
    def resolution(self) -> timedelta:
        return self.backend.resolution

    @property
    def largest_message(self) -> int:
        return self.backend.largest_message

    @property
    def retention(self) -> timedelta | None:
        return self.backend.retention

    def now(self) -> float:
        return self.backend.now()

    def finish(self, write: Write) -> None:
        before, after = self.contract.now(), self._after(write)
        try:
            self.backend.finish(write)
        except BaseException as error:
            self._failed(write, after, before, error)
            raise
        self._done(write, after, before)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        before = self.contract.now()
        after = {write.key: self._after(write) for write in writes}
        try:
            finished = self.backend.finish_all(writes, receive, machines)
        except BaseException as error:
            for write in writes:
                self._failed(write, after[write.key], before, error)
            raise
        for write in writes:
            if write.key in finished.errors:
                self._failed(write, after[write.key], before, finished.errors[write.key])
            else:
                self._done(write, after[write.key], before)
        self.contract.queue_checker.received(finished.deliveries, before, self.contract.now(), machines)
        if len(finished.deliveries) > receive:
            self.contract.report(
                "F8", f"{len(finished.deliveries)} messages were delivered where {receive} were requested"
            )
        return finished

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        return self.backend.watch(key, changed)

    def _after(self, write: Write) -> State | None:
        if write.stored is None:
            return None
        return self.contract.store_checker.after(
            write.key, write.stored, write.add_dead_letters, write.remove_dead_letters
        )

    def _failed(self, write: Write, after: State | None, before: float, error: BaseException) -> None:
        contract = self.contract
        if isinstance(error, ConflictError):
            contract.store_checker.refused(write.key, write.expected, error)
            contract.queue_checker.refused(write.sends)
        elif isinstance(error, LeaseLostError):
            contract.queue_checker.lease_lost(write, before)
            contract.queue_checker.refused(write.sends)
        elif not isinstance(error, NOTHING_HAPPENED):
            if after is not None:
                contract.store_checker.indeterminate(write.key, after, write.expected)
            contract.queue_checker.sent(write.sends, "finish", before, indeterminate=True)

    def _done(self, write: Write, after: State | None, before: float) -> None:
        if after is not None:
            self.contract.store_checker.committed(
                write.key, after, write.expected, self.contract.stale_commit_guarantee
            )
        queue_checker = self.contract.queue_checker
        queue_checker.committed(write, self.contract.now())
        if write.add_dead_letters:
            queue_checker.queue_of(write.key).had_dead_letter = True
        queue_checker.sent(write.sends, "finish", before)
        for timer in write.timers:
            queue_checker.scheduled_timer(timer, self.contract.now())
        for timer_id in write.cancels:
            queue_checker.cancelled_timer(timer_id, before)
        queue_checker.acked(write.acks, before)

    def close(self) -> None:
        with suppress(SettledError):
            self.backend.close()
