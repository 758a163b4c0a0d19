"""Tell the time at the servers from what their answers said: nobody has to ask for it.

Each answer of the script says what time it was. That was after the question had left and before the answer came, so
how far the server's clock is ahead of ours lies between two bounds. The lower one is the guess, and is kept as long as
it may be right and none is better. So it is never ahead of a clock that runs like ours, it is behind by no more than
the fastest answer took, and it does not go back when answers overtake each other. Where it cannot be right, because
the server's clock was set, the newest answer counts.

Partitions may be on servers whose clocks differ. Then the one that is ahead counts: nothing that is scheduled by it
comes early, and what has rung by any of them is due by it.
"""

from __future__ import annotations

import math
import time


class RedisClock:
    """The clock of the servers that have these `partitions`, as far as it is known here.

    There is no lock. If two threads hear something in the same moment, only one of them may have moved the guess; the
    next answer makes up for it.
    """

    def __init__(self, partitions: int) -> None:
        self._ahead = [-math.inf] * partitions

    def hear(self, partition: int, said: float, asked: float, answered: float) -> None:
        """The server of `partition` has said this time, between these two moments of `time.monotonic`."""
        least, most = said - answered, said - asked
        if not least <= self._ahead[partition] <= most:
            self._ahead[partition] = least

    def now(self) -> float:
        """Seconds since the epoch, once something was heard."""
        return max(self._ahead) + time.monotonic()
