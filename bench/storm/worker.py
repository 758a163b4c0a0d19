"""``settled worker`` in a storm: the same command, with a clock that is wrong by `SKEW` seconds."""

from __future__ import annotations

import os
import time

SKEW = "SETTLED_STORM_SKEW"


def set_clock_wrong(seconds: float) -> None:
    """Let `time.time` be wrong by `seconds` in this process. Call it before settled is imported, which may keep it."""
    right = time.time
    time.time = lambda: right() + seconds


if __name__ == "__main__":
    set_clock_wrong(float(os.environ.get(SKEW, "0")))
    from settled_cli import main

    main()
