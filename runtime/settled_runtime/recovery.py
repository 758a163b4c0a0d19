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
"""How many seconds to try again while commits of workers come first, or a worker has an open turn."""

FIRST_PAUSE = 0.02
"""How many seconds to pause before the second attempt; each further pause is twice as long."""


BATCH = 50
"""How many messages of an instance are committed at once: a store may not hold many more in one write."""


@frozen
class LeftMessage:
    """A message that stays in the dead-letter queue `queue`: its beginning, and why it stays."""

    queue: str
    text: str
    reason: str


@frozen
class RecoveryReport:
    """What `recover_dropped` has done.

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
    seen = set[str]()
    # What stays is seen again when its minute is over.
    while fresh := [each for each in retried(queue.receive) if each.id not in seen]:
        seen |= {each.id for each in fresh}
        ours = [each for each in fresh if each.message is not None]
        report.left.extend(LeftMessage(queue.name, each.text, "is not settled's") for each in fresh if not each.message)
        if queue.has_timers_only:
            _send_again(queue, ours, backend, report)
        else:
            for _, group in groupby(sorted(ours, key=_key_of), _key_of):
                _recover(queue, [*group], backend, report)


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
    queue: DeadLetterQueue, dropped: Sequence[DroppedMessage], backend: Backend, report: RecoveryReport
) -> None:
    """Recover `dropped`, all messages of a key, in order; after one that cannot be recovered the others stay, too."""
    for start in range(0, len(dropped), BATCH):
        some = dropped[start : start + BATCH]
        try:
            letters = [_dead_letter(queue, each, backend) for each in some]
            report.recovered.append(_commit(_key_of(dropped[0]), letters, backend))
        except (RecordError, TooLargeError, ConflictError) as error:
            report.left.extend(LeftMessage(queue.name, each.text, str(error)) for each in dropped[start:])
            return
        retried(queue.delete, some)


def _dead_letter(queue: DeadLetterQueue, dropped: DroppedMessage, backend: Backend) -> DeadLetter:
    assert dropped.message is not None
    delivery = decoded(backend, Delivery(dropped.message, "", 1, 0.0))
    return DeadLetter(delivery.message, f"was in the dead-letter queue {queue.name}", dropped.at)


def _commit(key: Key, letters: Sequence[DeadLetter], backend: Backend) -> Recovered:
    """Recover `letters`, again if another commit comes first.

    Raises:
        RecordError: the record cannot be read, or a message not be decoded.
        TooLargeError: the store cannot add so many dead letters, or move those that are there.
        ConflictError: for `PATIENCE`, other commits came first, or a worker had an open turn.
    """
    if any(each.message.body.startswith(ENCODED_PREFIX) for each in letters):
        raise CodecError("it cannot be decoded: give the codec with which it was sent")
    commands, end, pause = BackendCommands(backend, Observers(())), time.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            return commands.run(recover(key, letters, uuid.uuid4().hex, Traits.of(backend)))
        except ConflictError:
            if time.monotonic() > end:
                raise
            time.sleep(pause)
            pause *= 2
