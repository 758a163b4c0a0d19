"""Generates the deviations to explore (singles and pairs), and shrinks those that break a guarantee.

Single deviations find bugs that need one fault at exactly the right moment; bugs that need several are found by pairs,
and by `RandomChoices`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from settled_conformance.simulator.choices import Choices, ReplayedChoices
from settled_conformance.simulator.scenario import ScenarioRun

Runner = Callable[[Choices], ScenarioRun]
Deviations = Mapping[int, int]


def singles(options: list[int]) -> Iterator[Deviations]:
    """Yield every single deviation from the default run, whose numbers of options are `options`."""
    for position, count in enumerate(options):
        for option in range(1, count):
            yield {position: option}


def pairs(options: list[int], source: random.Random) -> Iterator[Deviations]:
    """Yield random pairs of deviations for ever; nothing if fewer than two positions have several options."""
    positions = [position for position, count in enumerate(options) if count > 1]
    while len(positions) > 1:
        yield {position: source.randrange(1, options[position]) for position in source.sample(positions, 2)}


def shrink(runner: Runner, deviations: Deviations, guarantee: str) -> Deviations:
    """Return a subset of `deviations` that still breaks `guarantee`, by leaving out ever smaller chunks."""

    def breaks(candidate: Deviations) -> bool:
        return any(each.guarantee == guarantee for each in runner(ReplayedChoices(candidate)).violations)

    smallest = dict(deviations)
    size = max(1, len(smallest) // 2)
    while size:
        for positions in list(_chunks(list(smallest), size)):
            candidate = {position: option for position, option in smallest.items() if position not in positions}
            if len(candidate) < len(smallest) and breaks(candidate):
                smallest = candidate
        size //= 2
    return smallest


def _chunks(positions: list[int], size: int) -> Iterator[set[int]]:
    for start in range(0, len(positions), size):
        yield set(islice(positions, start, start + size))
