"""Estimate how often a message was delivered: Pub/Sub counts only under a dead-letter policy, which we advise against.

Two things go by this number: the waits of an outage, which grow with it, and the watch on code that may end its worker,
which begins after two receives without progress. So the estimate is high enough for both, and no higher: one
delivery for each lease of the message's age, which is how soon it comes back if its worker is lost, but no more than an
outage of that length would take. It is too high for a message that has only waited behind others; its turn then takes
one read and one commit more.
"""

from __future__ import annotations

from settled.durable.commands import ReleaseReason
from settled.durable.release_delays import FIRST_DELAYS, receives_within

_FIRST_DELAY = FIRST_DELAYS[ReleaseReason.ERROR]


def estimated_attempt(age: float, lease: float) -> int:
    """Return the estimate for a message that was published `age` seconds ago, with leases of `lease` seconds."""
    leases = int(max(0.0, age) / lease)
    return 1 + min(leases, receives_within(age, _FIRST_DELAY)) if leases else 1
