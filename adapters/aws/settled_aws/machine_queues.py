"""Queues of their own for some machines, because SQS cannot select messages within a queue.

A message goes to the queue of its machine, and a receive for some machines reads their queues only. A message that is
found in another queue, sent before its machine had one of its own or by a process with another URL, is forwarded to the
right one: sent there, then deleted here, so a crash in between repeats it, and loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from settled.durable.commands import ReleaseReason
from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery
from settled.durable.release_delays import release_delay
from settled.errors import ConflictError, OutcomeUnknownError, SettledError, UnavailableError
from settled_aws.delay_queue import DelayQueue
from settled_aws.queue import SqsFifoQueue

T = TypeVar("T")


class MachineQueues:
    """The queue of a backend that has several.

    Args:
        default: the queue of all machines that have none of their own.
        by_machine: the queues of the others, by their ids; several machines may share one.
        delays: the delay queue; `receive` forwards its due messages.
    """

    def __init__(
        self, default: SqsFifoQueue, by_machine: Mapping[str, SqsFifoQueue], delays: DelayQueue | None = None
    ) -> None:
        self._default = default
        self._by_machine = by_machine
        self._delays = delays
        self._receives = 0

    def of(self, machine: str) -> SqsFifoQueue:
        """Return the queue of `machine`."""
        return self._by_machine.get(machine, self._default)

    def send(self, messages: Sequence[Message]) -> None:
        """Send each message to the queue of its machine, as `SqsFifoQueue.send` does.

        Raises:
            TooLargeError: a message is too large; none was sent.
            OutcomeUnknownError: some were sent, perhaps all.
        """
        groups = _divided(messages, lambda message: self.of(message.key.machine))
        # All are checked before any is sent.
        entries = {queue: queue.entries(group) for queue, group in groups.items()}
        for number, queue in enumerate(entries):
            try:
                queue.send_entries(entries[queue])
            except UnavailableError as error:
                if number == 0:
                    raise
                raise OutcomeUnknownError(
                    f"{number} of {len(entries)} queues have their messages, and then: {error}"
                ) from error

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        """Receive from the first queue of `machines` that has messages, beginning with another one each time.

        SQS cannot wait at several queues: all but the last are only looked at.
        """
        if limit < 1:
            return ()
        if self._delays is not None:
            self._delays.forward(self.send)
        queues = self._queues_of(machines)
        for number, queue in enumerate(queues, 1):
            found = queue.receive(limit, wait if number == len(queues) else 0.0)
            misplaced = [each for each in found if self.of(each.message.key.machine) is not queue]
            if misplaced:
                self._forward(queue, misplaced)
            kept = [each for each in found if each not in misplaced]
            if kept:
                return kept
        return ()

    def _forward(self, queue: SqsFifoQueue, misplaced: Sequence[Delivery]) -> None:
        try:
            self.send([each.message for each in misplaced])
            queue.ack(misplaced)
        except SettledError as error:
            delay = release_delay(ReleaseReason.ERROR, misplaced[0].attempt, error)
            with suppress(SettledError):  # if it fails, their leases end
                queue.release(misplaced, delay)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for queue, group in self._by_queue(deliveries):
            queue.ack(group)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for queue, group in self._by_queue(deliveries):
            queue.release(group, delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        lost: list[str] = []
        for queue, group in self._by_queue(deliveries):
            try:
                queue.extend(group, lease)
            except ConflictError as error:
                lost.append(str(error))  # the leases in the other queues are extended all the same
        if lost:
            raise ConflictError("; ".join(lost))

    def backlog(self) -> Sequence[Backlog]:
        return self._default.backlog()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self._default.withdraw(deliveries)

    def set_aside(self, text: str, id: str, group: str, queue: str | None = None) -> bool:
        """Do as `SqsFifoQueue.set_aside` does."""
        return self._default.set_aside(text, id, group, queue)

    def release_later(self, queue: str, received: Sequence[tuple[str, int]], error: SettledError) -> None:
        """Do as `SqsFifoQueue.release_later` does."""
        self._default.release_later(queue, received, error)

    def _queues_of(self, machines: Collection[str] | None) -> Sequence[SqsFifoQueue]:
        if machines is None:
            queues = dict.fromkeys([self._default, *self._by_machine.values()])
        else:
            queues = dict.fromkeys(self.of(machine) for machine in machines)
        self._receives += 1
        first = self._receives % len(queues) if queues else 0
        return [*queues][first:] + [*queues][:first]

    def _by_queue(self, deliveries: Sequence[Delivery]) -> Collection[tuple[SqsFifoQueue, Sequence[Delivery]]]:
        return _divided(deliveries, lambda delivery: self.of(delivery.message.key.machine)).items()


def _divided(items: Sequence[T], queue_of: Callable[[T], SqsFifoQueue]) -> Mapping[SqsFifoQueue, Sequence[T]]:
    """Divide `items` among their queues, keeping their order."""
    groups: dict[SqsFifoQueue, list[T]] = {}
    for item in items:
        groups.setdefault(queue_of(item), []).append(item)
    return groups
