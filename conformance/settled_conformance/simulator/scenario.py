"""The protocol of scenarios, and the result of a run."""

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
    """The result of one run."""

    violations: Sequence[Violation]
    timeline: Sequence[str]
    marks: frozenset[str]


class Scenario(Protocol):
    """A workload: tasks and what they do. Interleaving, time and faults are decided by the choices."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float:
        """The share of schedules, relative to other scenarios."""
        ...

    def fits(self, harness: Harness) -> bool:
        """Return whether this scenario can run on `harness`."""
        ...

    def run(self, environment: Environment, choices: Choices) -> ScenarioRun:
        """Run once in `environment`, which must be empty."""
        ...
