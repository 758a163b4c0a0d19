"""The choice tape: every decision of a run, as numbers.

A run asks its tape at each fork, always in the same order; 0 is the plain way on. So a run is told by the forks at
which it left the plain way, and a shorter list of these is a simpler run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

PLAIN: Mapping[int, int] = {}


class Choices(Protocol):
    """What a run asks at each fork."""

    def choose(self, ways: int) -> int:
        """Which of `ways` ways is gone, from 0."""
        ...


@define
class ReplayedChoices:
    """A tape that leaves the plain way where `deviations` say so: a fork's number, and the way gone there.

    `ways` are how many ways there were at each fork that was come to.
    """

    deviations: Mapping[int, int] = PLAIN
    ways: list[int] = field(factory=list[int])

    def choose(self, ways: int) -> int:
        chosen = self.deviations.get(len(self.ways), 0)
        self.ways.append(ways)
        return chosen if chosen < ways else 0


@define
class RandomChoices:
    """A tape that is drawn at random: with `share` at each fork up to `last`, another way than the plain one."""

    random: random.Random
    share: float
    last: int = 400
    forks: int = 0
    deviations: dict[int, int] = field(factory=dict[int, int])

    def choose(self, ways: int) -> int:
        fork, self.forks = self.forks, self.forks + 1
        if ways < 2 or fork > self.last or self.random.random() >= self.share:
            return 0
        chosen = self.random.randrange(1, ways)
        self.deviations[fork] = chosen
        return chosen


def to_token(scenario: str, deviations: Mapping[int, int]) -> str:
    """The run as a text that can be typed: ``poison:11.5,18.6``."""
    return f"{scenario}:{','.join(f'{fork}.{way}' for fork, way in sorted(deviations.items()))}"


def from_token(token: str) -> tuple[str, Mapping[int, int]]:
    """The scenario and the deviations that `to_token` wrote.

    Raises:
        ValueError: `token` is not of this form.
    """
    scenario, colon, rest = token.partition(":")
    if not colon or not _WRITTEN.fullmatch(rest):
        raise ValueError(f"{token!r} is no replay token: expected SCENARIO:FORK.WAY,FORK.WAY,...")
    pairs = (part.split(".") for part in rest.split(",") if part)
    return scenario, {int(fork): int(way) for fork, way in pairs}


_WRITTEN = re.compile(r"(\d+\.\d+(,\d+\.\d+)*)?")
