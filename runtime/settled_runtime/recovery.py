"""Brings back what the queue of a backend has given up: see `settled.durable.recovery`.

Some vendors' queues move a message to a dead-letter queue after so many receives, and some schedulers put there what
they could not deliver.

Its law: a message leaves the dead-letter queue only after it is committed, or sent. A crash in between repeats it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from itertools import groupby

from attrs import field, frozen

from settled import CodecError, ConflictError, Key, RecordError, TooLargeError, UnsupportedError
from settled.durable import Backend, DeadLetter, Delivery, Message, Recovered, Traits, recover
from settled.durable.encoded import ENCODED_PREFIX
from settled_runtime.backend_commands import BackendCommands, retried
from settled_runtime.coded_backend import decoded, without_codec
from settled_runtime.composite import CompositeBackend
from settled_runtime.dead_letter_queue import DeadLetterQueue, DroppedMessage
from settled_runtime.events import Observers

PATIENCE = 20.0
"""How many seconds to try again while commits of workers come first, or a worker has an open turn.

For all that one receive has returned together: it must be deleted while it is hidden.
"""

FIRST_PAUSE = 0.02
"""How many seconds to pause before the second attempt; each further pause is twice as long, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 1.0
"""The longest pause, in seconds: an instance that is busy may be free only for a moment, between two turns."""

BATCH = 50
"""How many messages of an instance are committed at once, or fewer if a store does not take so many in one write."""


@frozen
class LeftMessage:
    """A message that stays in the dead-letter queue `queue`: its beginning, and why it stays."""

    queue: str
    text: str
    reason: str


@frozen
class RecoveryReport:
    """The result of `recover_dropped`.

    Attributes:
        recovered: what became of the messages of each instance; an instance may be named more than once.
        sent: the messages of timers that were sent to the queue again.
        left: the messages that stay where they are.
    """

    recovered: list[Recovered] = field(factory=list[Recovered])
    sent: list[Message] = field(factory=list[Message])
    left: list[LeftMessage] = field(factory=list[LeftMessage])


def recover_dropped(backend: Backend) -> RecoveryReport:
    """Bring back what the queue of `backend`, and its timers, have given up.

    The messages of an instance become its dead letters, in their order, and are redriven at once, before anything
    newer; those of a halted instance wait for its redrive. Messages of timers are sent again. What is not settled's,
    and what belongs to a record that cannot be read or changed, stays in the dead-letter queue. Safe to repeat.

    Raises:
        UnsupportedError: nothing leaves the queue of this backend but by an acknowledgement.
        UnavailableError, OutcomeUnknownError, AccessDeniedError, BackendConfigError: as the backend raised it. Call
            again.
    """
    below = without_codec(backend)
    if not isinstance(below, CompositeBackend) or below.dead_letter_queues is None:
        raise UnsupportedError("the queue of this backend gives up no message, and so has no dead-letter queue")
    report = RecoveryReport()
    for queue in below.dead_letter_queues():
        _empty(queue, backend, report)
    return report


def _empty(queue: DeadLetterQueue, backend: Backend, report: RecoveryReport) -> None:
    seen, stuck = set[str](), dict[Key, str]()
    # What stays is seen again when it is hidden no longer.
    while fresh := [each for each in retried(queue.receive) if each.id not in seen]:
        seen |= {each.id for each in fresh}
        end = time.monotonic() + PATIENCE
        ours = [each for each in fresh if each.message is not None]
        report.left.extend(LeftMessage(queue.name, each.text, "is not settled's") for each in fresh if not each.message)
        if queue.has_timers_only:
            _send_again(queue, ours, backend, report)
        else:
            for key, group in groupby(sorted(ours, key=_key_of), _key_of):
                left: Sequence[DroppedMessage] = [*group]
                if key not in stuck:
                    left, reason = _recover(queue, left, backend, report, end)
                    if left:
                        stuck[key] = reason
                report.left.extend(LeftMessage(queue.name, each.text, stuck[key]) for each in left)


def _key_of(dropped: DroppedMessage) -> Key:
    assert dropped.message is not None
    return dropped.message.key


def _send_again(
    queue: DeadLetterQueue, dropped: Sequence[DroppedMessage], backend: Backend, report: RecoveryReport
) -> None:
    messages = [each.message for each in dropped if each.message is not None]
    retried(without_codec(backend).queue.send, messages)  # as they are: they are encoded already
    retried(queue.delete, dropped)
    report.sent.extend(messages)


def _recover(
    queue: DeadLetterQueue, dropped: Sequence[DroppedMessage], backend: Backend, report: RecoveryReport, end: float
) -> tuple[Sequence[DroppedMessage], str]:
    """Recover `dropped`, all messages of a key, in order, until the time `end` by the monotonic clock.

    Return those that stay, from the first one on that cannot be recovered, and the reason.
    """
    start, size = 0, BATCH
    while some := dropped[start : start + size]:
        try:
            letters = [_dead_letter(queue, each, backend) for each in some]
            report.recovered.append(_commit(_key_of(some[0]), letters, backend, end))
        except (RecordError, TooLargeError, ConflictError) as error:
            if isinstance(error, TooLargeError) and len(some) > 1:
                size = len(some) // 2
                continue
            return dropped[start:], str(error)
        retried(queue.delete, some)
        start += len(some)
    return (), ""


def _dead_letter(queue: DeadLetterQueue, dropped: DroppedMessage, backend: Backend) -> DeadLetter:
    assert dropped.message is not None
    delivery = decoded(backend, Delivery(dropped.message, "", 1, 0.0))
    return DeadLetter(delivery.message, f"was in the dead-letter queue {queue.name}", dropped.at)


def _commit(key: Key, letters: Sequence[DeadLetter], backend: Backend, end: float) -> Recovered:
    """Recover `letters`, again if another commit comes first, until the time `end` by the monotonic clock.

    Raises:
        RecordError: the record cannot be read, or a message not be decoded.
        TooLargeError: the store cannot add so many dead letters, or move those that are there.
        ConflictError: until then, other commits came first, or a worker had an open turn.
    """
    if any(each.message.body.startswith(ENCODED_PREFIX) for each in letters):
        raise CodecError("it cannot be decoded: give the codec with which it was sent")
    commands, pause = BackendCommands(backend, Observers(())), FIRST_PAUSE
    while True:
        try:
            return commands.run(recover(key, letters, uuid.uuid4().hex, Traits.of(backend)))
        except ConflictError:
            if time.monotonic() > end:
                raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
