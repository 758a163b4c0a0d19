"""Handle SQS events in a Lambda function: run the turns of the messages that an event source mapping delivers.

Lambda deletes the messages of an event unless the response lists them in ``batchItemFailures``; those become visible
again. So an acknowledgement makes no request: of each message group, the response lists what was not acknowledged, from
the first such message on, because in a FIFO group no message may overtake one that failed. Groups run in parallel and
do not affect each other. If the invocation fails after an acknowledgement, the message is delivered again, and its
record recognises it.

A message that is not settled's becomes a dead letter of the instance whose group it is in. If the group names none, the
message is moved to the dead-letter queue of its queue; if that fails, it is reported with what follows in its group.

An invocation lasts as long as its slowest group. What other groups have acknowledged is therefore deleted every second,
so that none of them waits longer than that for another one. The host releases messages itself, as in a worker, so one
that must wait is invisible for exactly that long.

Lambda freezes the process between invocations, for an unknown time. Each invocation therefore discards the time that
the previous one knew, and measures its own deadline by the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import frozen

from settled import EventError, SettledError
from settled.durable import Backend, Delivery, Message, Position, Queue
from settled.durations import in_seconds
from settled_aws.clock import AwsClock
from settled_aws.envelope import decode_received, from_text
from settled_aws.machine_queues import MachineQueues
from settled_aws.queue import SEQUENCE_NUMBER, EventSourceDelivery, SqsFifoQueue
from settled_runtime import CompositeBackend, Host, StopSignal
from settled_runtime.backend_commands import retried
from settled_runtime.coded_backend import decoded, without_codec

if TYPE_CHECKING:
    from settled_runtime import AsyncHost  # not imported otherwise: asyncio would slow down every cold start

Event = Mapping[str, Any]
"""Decoded JSON, as Lambda passes it to a handler."""

RESERVE = timedelta(seconds=2)
"""Seconds before its end in which an invocation only releases messages and responds."""

DELETE_INTERVAL = 1.0
"""Seconds after which an invocation that still runs deletes what has been acknowledged, and again and again."""

MAX_GROUPS = 10
"""Lambda's limit on the batch size of a FIFO queue: ten messages, so ten groups at most."""

_FIRST_RECEIVED = "ApproximateFirstReceiveTimestamp"
"""The system attribute with the time at which SQS first delivered a message, in milliseconds since the epoch."""


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int: ...


Groups: TypeAlias = Sequence[Sequence[Delivery]]
"""The deliveries of each group; empty if its first message is not settled's and could not be set aside."""


@frozen
class Deadline:
    """The end of the time to work in, by the monotonic clock. `stop_signal` is set when it is reached."""

    end: float
    stop_signal: StopSignal

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.end


def lambda_handler(host: Host | AsyncHost, *, reserve: timedelta = RESERVE) -> Callable[[Event, Context], Event]:
    """Return the handler of a Lambda function that handles messages through `host`.

    Map both queues to the function, with ``ReportBatchItemFailures``. Invocations release what they have not finished
    `reserve` before their timeout.
    """
    return _LambdaHandler(host.backend, _group_handler(host), in_seconds(reserve, "reserve"))


def begin_invocation(backend: Backend) -> None:
    """Discard the time that `backend` knows: the process, and its monotonic clock, may have been frozen since."""
    below = without_codec(backend)
    if isinstance(below, CompositeBackend) and isinstance(below.clock, AwsClock):
        below.clock.forget()


def _group_handler(host: Host | AsyncHost) -> Callable[[Groups, Deadline], None]:
    if isinstance(host, Host):
        return _GroupThreads(host, ThreadPoolExecutor(MAX_GROUPS, "settled-group"))
    from settled_aws.lambda_async import GroupTasks  # noqa: PLC0415 (a `Host` needs no event loop)

    return GroupTasks(host)


@contextmanager
def _deadline(seconds: float) -> Generator[Deadline]:
    """Yield a deadline in `seconds`."""
    deadline = Deadline(time.monotonic() + seconds, StopSignal())
    timer = threading.Timer(seconds, deadline.stop_signal.set)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()


@frozen
class _Record:
    """A record of an event.

    `group` is empty for the delay queue. `message` is None if `text` is not settled's and names no instance.
    """

    id: str
    group: str
    text: str
    message: Message | None
    receipt: str
    queue: str
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, record: Event) -> _Record:
        queue, attributes = str(record.get("eventSourceARN")), record.get("attributes", {})
        group = str(attributes.get("MessageGroupId", "")) if queue.endswith(".fifo") else ""
        message, receipt = _message(record, group), str(record.get("receiptHandle"))
        return cls(str(record["messageId"]), group, record["body"], message, receipt, queue, attributes)

    @property
    def queue_name(self) -> str:
        """The name of the queue whose ARN `queue` is."""
        return self.queue.rpartition(":")[2]


def _message(record: Event, group: str) -> Message | None:
    if group:
        return decode_received(record["body"], group, record["messageId"])
    with suppress(EventError):
        return from_text(record["body"])
    return None


@frozen
class _LambdaHandler:
    """The handler itself."""

    backend: Backend
    handle_groups: Callable[[Groups, Deadline], None]
    reserve: float

    def __call__(self, event: Event, context: Context) -> Event:
        with _deadline(context.get_remaining_time_in_millis() / 1000 - self.reserve) as deadline:
            begin_invocation(self.backend)
            records = [_Record.of(record) for record in event["Records"]]
            records = [record for record in records if record.message or not self._set_aside(record)]
            elsewhere = {record.group for record in records if self._is_elsewhere(record)}
            failed = self._forward([each for each in records if not each.group or each.group in elsewhere])
            groups, acked = _by_group([each for each in records if each.group not in elsewhere]), set[str]()
            deliveries = [self._deliveries(group, acked) for group in groups]
            with self._deleting(deliveries, acked):
                self.handle_groups(deliveries, deadline)
            for group in groups:
                failed += [record.id for record in dropwhile(lambda each: each.receipt in acked, group)]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    @property
    def _queue(self) -> Queue:
        """The queue below the codec, if there is one: what was encoded is forwarded as it is."""
        return without_codec(self.backend).queue

    def _forward(self, records: Sequence[_Record]) -> list[str]:
        """Send the messages of the delay queue, and those in the queue of another machine, where they belong.

        Return the ids of the records to report. Those that could not be sent come back later each time, so that an
        outage does not use up their receives.
        """
        due = [record.message for record in records if record.message is not None]
        try:
            self._queue.send(due)
        except SettledError as error:
            self._release_later(records, error)
            return [record.id for record in records]
        return [record.id for record in records if record.message is None]

    def _release_later(self, records: Sequence[_Record], error: SettledError) -> None:
        queue = self._queue
        if isinstance(queue, SqsFifoQueue | MachineQueues):
            received = [(each.receipt, int(each.attributes["ApproximateReceiveCount"])) for each in records]
            queue.release_later(records[0].queue_name, received, error)  # an event comes from one queue

    def _set_aside(self, record: _Record) -> bool:
        """Send `record`, which names no instance, to the dead-letter queue of its queue. Return whether it is there."""
        queue = self._queue
        if not isinstance(queue, SqsFifoQueue | MachineQueues):
            return False
        return queue.set_aside(record.text, record.id, record.group, record.queue_name)

    @contextmanager
    def _deleting(self, groups: Groups, acked: set[str]) -> Generator[None]:
        """Within this block, delete every second what has been acknowledged since."""
        ended = threading.Event()
        thread = threading.Thread(target=self._delete, args=(groups, acked, ended), name="settled-deletes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def _delete(self, groups: Groups, acked: set[str], ended: threading.Event) -> None:
        left = [delivery for group in groups for delivery in group]
        while not ended.wait(DELETE_INTERVAL):
            done, left = _divided(left, acked)
            with suppress(SettledError):  # if it fails, Lambda deletes them after the invocation
                self._queue.ack(done)

    def _is_elsewhere(self, record: _Record) -> bool:
        """Return whether `record` is in another FIFO queue than that of its machine."""
        queue = self._queue
        if not record.group or record.message is None or not isinstance(queue, MachineQueues):
            return False
        return queue.of(record.message.key.machine).url.rpartition("/")[2] != record.queue_name

    def _deliveries(self, group: Sequence[_Record], acked: set[str]) -> Sequence[Delivery]:
        """Return the deliveries of `group`, which note in `acked`, before a record that could not be set aside."""
        deliveries: list[Delivery] = []
        for record in group:
            if record.message is None:
                break
            deliveries.append(self._delivery(record, record.message, acked))
        return deliveries

    def _delivery(self, record: _Record, message: Message, acked: set[str]) -> Delivery:
        attempt = int(record.attributes["ApproximateReceiveCount"])
        until = self._received_at(record, attempt) + self.backend.lease.total_seconds()
        position = self._position(record, message)
        delivery = EventSourceDelivery(message, record.receipt, attempt, until, position, acked)
        return decoded(self.backend, delivery)

    def _received_at(self, record: _Record, attempt: int) -> float:
        """Return when SQS delivered `record`, in seconds since the epoch; now if it is not the first delivery."""
        # SQS tells the time of the first delivery only. Now is later than the delivery, so `until` is then too late;
        # `SqsFifoQueue.release` allows for that by its margin, and the version protects the record.
        if attempt == 1 and _FIRST_RECEIVED in record.attributes:
            return int(record.attributes[_FIRST_RECEIVED]) / 1000
        return retried(self.backend.now)

    def _position(self, record: _Record, message: Message) -> Position | None:
        """Return the position of `record`, which has `message`; None if it is not from the backend's queue."""
        queue = self._queue
        if isinstance(queue, MachineQueues):
            queue = queue.of(message.key.machine)
        if SEQUENCE_NUMBER not in record.attributes or not isinstance(queue, SqsFifoQueue):
            return None
        numbering = retried(queue.numbering)
        return numbering.position(record.attributes) if numbering.queue == record.queue else None


@frozen
class _GroupThreads:
    """Handles groups through `host`: the first one in the calling thread, each other one in a thread of `pool`."""

    host: Host
    pool: ThreadPoolExecutor

    def __call__(self, groups: Groups, deadline: Deadline) -> None:
        others = [self.pool.submit(self._handle_group, group, deadline) for group in groups[1:]]
        for group in groups[:1]:
            self._handle_group(group, deadline)
        for other in others:
            other.result()

    def _handle_group(self, deliveries: Sequence[Delivery], deadline: Deadline) -> None:
        if not deadline.is_over:
            self.host.handle(deliveries, deadline.stop_signal)
        elif deliveries:
            with suppress(SettledError):  # if it fails, the leases run out
                self.host.backend.queue.release(deliveries)


def _divided(deliveries: Sequence[Delivery], acked: set[str]) -> tuple[list[Delivery], list[Delivery]]:
    """Return those of `deliveries` that are in `acked`, as deliveries to be deleted, and the others."""
    done, left = list[Delivery](), list[Delivery]()
    for each in deliveries:
        if each.receipt in acked:
            done.append(Delivery(each.message, each.receipt, each.attempt, each.lease_until, each.position))
        else:
            left.append(each)
    return done, left


def _by_group(records: Sequence[_Record]) -> list[list[_Record]]:
    groups: dict[str, list[_Record]] = {}
    for record in records:
        if record.group:
            groups.setdefault(record.group, []).append(record)
    return list(groups.values())
