"""The servers' time, derived from their answers, so that it costs no round trip.

Each answer of the script has the server's time. It was read after the request was sent and before the answer came,
which gives a lower and an upper bound of how far the server's clock is ahead of ours. The lower bound is used, and kept
for as long as it may be right and no better one is known. So the derived time is never ahead of the server's, as long
as the two clocks run at the same rate; it is behind by no more than the fastest answer took; and it does not go back
when answers overtake each other. If it cannot be right any more, because the server's clock was set, the newest answer
counts.

Partitions may be on servers whose clocks differ. Then the clock that is furthest ahead counts: no timer that is
scheduled by it comes early, and each timer that has fired is due by it.
"""

from __future__ import annotations

import math
import time


class RedisClock:
    """The clock of the servers of `partitions` partitions.

    There is no lock. If two threads observe answers at the same moment, one observation may be lost; the next answer
    makes up for it.
    """

    def __init__(self, partitions: int) -> None:
        self._ahead = [-math.inf] * partitions

    def observe(self, partition: int, server_time: float, asked: float, answered: float) -> None:
        """Record that the clock of the server of `partition` showed `server_time` between `asked` and `answered`.

        Both are moments of `time.monotonic`.
        """
        least, most = server_time - answered, server_time - asked
        # Kept between the bounds: `least` of a slower answer is lower, and must not set the time back.
        if not least <= self._ahead[partition] <= most:
            self._ahead[partition] = least

    def now(self) -> float:
        """Return seconds since the epoch; there must have been an observation."""
        return max(self._ahead) + time.monotonic()
