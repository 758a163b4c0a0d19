"""Choice sequences: every decision of a simulated run as a number, so that a run can be recorded, replayed and shrunk.

A run asks its `Choices` whenever several things can happen next, always in the same order. Option 0 is the default. So
the positions at which another option was taken, the deviations, determine the whole run, and a run with fewer
deviations is a simpler one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

NO_DEVIATIONS: Mapping[int, int] = {}


class Choices(Protocol):
    """The source of a run's decisions."""

    def choose(self, options: int) -> int:
        """Return which of `options` options is taken, from 0."""
        ...


@define
class ReplayedChoices:
    """Takes the default except at the positions in `deviations`, which map to the option taken there.

    `options` records how many options there were at each position.
    """

    deviations: Mapping[int, int] = NO_DEVIATIONS
    options: list[int] = field(factory=list[int])

    def choose(self, options: int) -> int:
        chosen = self.deviations.get(len(self.options), 0)
        self.options.append(options)
        # A shrunk run may offer fewer options here than the run it was made from.
        return chosen if chosen < options else 0


@define
class RandomChoices:
    """Takes, with probability `share`, an option other than the default, at each position up to `last`.

    Beyond `last` only defaults follow, so that faults stop and the run can come to rest. `position` counts the choices
    made; `deviations` records those that were not defaults.
    """

    random: random.Random
    share: float
    last: int = 400
    position: int = 0
    deviations: dict[int, int] = field(factory=dict[int, int])

    def choose(self, options: int) -> int:
        position, self.position = self.position, self.position + 1
        if options < 2 or position > self.last or self.random.random() >= self.share:
            return 0
        chosen = self.random.randrange(1, options)
        self.deviations[position] = chosen
        return chosen


def to_token(scenario: str, deviations: Mapping[int, int]) -> str:
    """Return a run as text, such as ``poison:11.5,18.6``: the scenario, then ``POSITION.OPTION`` of each deviation."""
    return f"{scenario}:{','.join(f'{position}.{option}' for position, option in sorted(deviations.items()))}"


def from_token(token: str) -> tuple[str, Mapping[int, int]]:
    """Parse the result of `to_token`.

    Raises:
        ValueError: `token` is malformed.
    """
    scenario, colon, rest = token.partition(":")
    if not colon or not _DEVIATIONS.fullmatch(rest):
        raise ValueError(f"{token!r} is not a replay token: expected SCENARIO:POSITION.OPTION,POSITION.OPTION,...")
    pairs = (part.split(".") for part in rest.split(",") if part)
    return scenario, {int(position): int(option) for position, option in pairs}


_DEVIATIONS = re.compile(r"(\d+\.\d+(,\d+\.\d+)*)?")
