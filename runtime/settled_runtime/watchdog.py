"""The watchdog: tells which turns hang, and in which code.

It looks at the turns from the thread that renews their leases. A turn that hangs keeps its instance, and only that one,
until its process ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType

from attrs import define, field

from settled_runtime.events import Observer, TurnHangs
from settled_runtime.held_deliveries import HeldDeliveries

LOOKS_UNTIL_REPORT = 4
"""A turn that was found at the same thing in so many looks in a row is reported. They cover a whole lease."""


@define(eq=False)
class Watchdog:
    """Reports turns that hang, each once.

    Attributes:
        observe: gets a `TurnHangs` for each.
        interval: how many seconds there are between two looks.
    """

    observe: Observer
    interval: float
    _seen: dict[HeldDeliveries, tuple[int, int]] = field(factory=dict[HeldDeliveries, "tuple[int, int]"], init=False)

    def look(self, turns: Iterable[HeldDeliveries]) -> None:
        """Compare `turns` with those of the last look, and report what has not changed for too long."""
        seen: dict[HeldDeliveries, tuple[int, int]] = {}
        for held in turns:
            steps, looks = self._seen.get(held, (held.steps, 0))
            looks = looks + 1 if steps == held.steps and (held.doing is not None or _blocks_loop(held)) else 0
            seen[held] = (held.steps, looks)
            if looks == LOOKS_UNTIL_REPORT:
                self.observe(hang_of(held, self.interval * (LOOKS_UNTIL_REPORT - 1)))
        self._seen = seen


def waits_for_loop(held: HeldDeliveries) -> bool:
    """Return whether the turn of `held` waits for code of another turn, which blocks their event loop for a lease."""
    loop = held.loop
    return loop is not None and loop.unanswered >= LOOKS_UNTIL_REPORT and not loop.runs_code_of(held.key)


def _blocks_loop(held: HeldDeliveries) -> bool:
    loop = held.loop
    return loop is not None and loop.unanswered > 1 and loop.runs_code_of(held.key)


def hang_of(held: HeldDeliveries, seconds: float) -> TurnHangs:
    """Return the event for the turn of `held`, which has not gone on for `seconds`."""
    # Private by its name only: it is documented, and the way to the stack of another thread.
    place = _place_in(sys._current_frames().get(held.thread))  # pyright: ignore[reportPrivateUsage]
    return TurnHangs(held.key, seconds, ", ".join(part for part in (held.doing, place) if part))


def _place_in(frame: FrameType | None) -> str:
    """Return which function of the machine runs in the thread of `frame`, and where; empty if none does."""
    called: FrameType | None = None
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(("settled.", "settled_")):
            code = called and called.f_code
            return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})" if code else ""
        called, frame = frame, frame.f_back
    return ""
