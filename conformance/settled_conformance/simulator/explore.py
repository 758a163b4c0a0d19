"""The drivers over the tape: the plain run, every single deviation, sampled pairs, random runs; and shrinking.

None of them is enough alone: what needs one thing to go wrong at just the right place is found by trying all places,
and what needs three, only at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from settled_conformance.simulator.choices import Choices, ReplayedChoices
from settled_conformance.simulator.scenario import ScenarioRun

Runner = Callable[[Choices], ScenarioRun]
Deviations = Mapping[int, int]


def singles(ways: list[int]) -> Iterator[Deviations]:
    """Every run that leaves the plain way once; `ways` are the plain run's forks."""
    for fork, count in enumerate(ways):
        for way in range(1, count):
            yield {fork: way}


def pairs(ways: list[int], source: random.Random) -> Iterator[Deviations]:
    """Runs that leave the plain way twice, sampled for ever."""
    forks = [fork for fork, count in enumerate(ways) if count > 1]
    while len(forks) > 1:
        yield {fork: source.randrange(1, ways[fork]) for fork in source.sample(forks, 2)}


def shrink(runner: Runner, deviations: Deviations, guarantee: str) -> Deviations:
    """A smaller run that breaks `guarantee` too, by leaving deviations out while it does."""

    def breaks(candidate: Deviations) -> bool:
        return any(each.guarantee == guarantee for each in runner(ReplayedChoices(candidate)).violations)

    smallest = dict(deviations)
    size = max(1, len(smallest) // 2)
    while size:
        for forks in list(_chunks(list(smallest), size)):
            candidate = {fork: way for fork, way in smallest.items() if fork not in forks}
            if len(candidate) < len(smallest) and breaks(candidate):
                smallest = candidate
        size //= 2
    return smallest


def _chunks(forks: list[int], size: int) -> Iterator[set[int]]:
    for start in range(0, len(forks), size):
        yield set(islice(forks, start, start + size))
