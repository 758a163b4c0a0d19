"""For how long messages are returned to their queue if the reason is neither theirs nor a wait of their machine.

A queue counts receives, and some move a message away after so many of them: SQS after a thousand at most. Meanwhile an
outage may last as long as the queue keeps the message. So the waits grow, by a tenth each time, which makes each of
them a tenth of the outage's length, whatever that is: after a short outage an instance goes on soon, and a long one
takes few receives. They grow no longer than to an hour, as nobody should wait for half a day after an outage of a week.

The waits are computed from the count of receives. If the record cannot be read, nothing else is known; then the count
includes receives that came to something, of a machine that waits again and again, and its first wait is longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate, count, takewhile

from settled.durable.commands import ReleaseReason
from settled.errors import OutcomeUnknownError, UnavailableError

GROWTH = 1.1
"""How many times as long as the last one the next wait is: so each is about a tenth of all before it together."""

MAX_DELAY = 60.0 * 60.0
"""The longest wait, in seconds. With it a message is received some 410 times in two weeks, SQS' longest retention."""

FIRST_DELAYS: Mapping[ReleaseReason, float] = {
    ReleaseReason.BUSY: 1.0,
    ReleaseReason.CONFLICTS: 1.0,
    ReleaseReason.OTHER_VERSION: 1.0,
    ReleaseReason.SUSPECT: 1.0,
    ReleaseReason.ERROR: 5.0,
}
"""The wait after the first receive, in seconds. A release for any other reason has a wait of its own, or none."""

FREE_RECEIVES_IF_BUSY = 20
"""After so many receives messages have to wait if their host has no free thread. Before, another host may have one."""

FIRST_DELAY_IF_UNREACHABLE = 1.0
"""The wait after an error that may be over in a moment; after the others somebody has to do something first."""

_MAX_STEPS = 200
"""After so many receives each wait is the longest; a power of all of them might be too large for a float."""


def release_delay(reason: ReleaseReason, receives: int, error: Exception | None = None) -> float:
    """Return for how many seconds to release messages, the first of which was received `receives` times in vain.

    `error` is that of the turn if the reason is `ReleaseReason.ERROR`. The result is 0 for the reasons that have no
    wait of this kind.
    """
    if reason is ReleaseReason.BUSY:
        receives -= FREE_RECEIVES_IF_BUSY
        if receives <= 0:
            return 0.0
    first = FIRST_DELAYS.get(reason, 0.0)
    if isinstance(error, UnavailableError | OutcomeUnknownError):
        first = FIRST_DELAY_IF_UNREACHABLE
    return _wait(first, receives)


def receives_within(seconds: float, first: float = FIRST_DELAY_IF_UNREACHABLE) -> int:
    """Return how often a message is received in an outage of `seconds`, if the first wait is `first`."""
    return 1 + sum(1 for _ in takewhile(lambda time: time <= seconds, accumulate(_waits(first))))


def outage_of(receives: int, longest: float = MAX_DELAY) -> float:
    """Return how many seconds an outage takes at least that makes a queue count `receives`.

    `longest` is the queue's own limit on a wait.
    """
    return sum(min(_wait(FIRST_DELAY_IF_UNREACHABLE, attempt), longest) for attempt in range(1, receives))


def _waits(first: float) -> Iterator[float]:
    return (_wait(first, attempt) for attempt in count(1))


def _wait(first: float, attempt: int) -> float:
    return min(first * GROWTH ** min(max(attempt, 1) - 1, _MAX_STEPS), MAX_DELAY)
