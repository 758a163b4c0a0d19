"""A scenario, and what comes of one run of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from settled_conformance.contract.checked_backend import Violation
from settled_conformance.environment import Environment
from settled_conformance.harness import Harness
from settled_conformance.simulator.choices import Choices


@frozen
class ScenarioRun:
    """What came of one run."""

    violations: Sequence[Violation]
    timeline: Sequence[str]
    marks: frozenset[str]


class Scenario(Protocol):
    """Who is there, and what they want; what happens to them is the tape's."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float:
        """Its share of the schedules, compared with the others'."""
        ...

    def fits(self, harness: Harness) -> bool:
        """Whether `harness` has what it takes."""
        ...

    def run(self, environment: Environment, choices: Choices) -> ScenarioRun:
        """One run at `place`, which must be empty."""
        ...
