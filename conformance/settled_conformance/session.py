"""`Session`: tests one harness, and reaches a verdict on each guarantee.

A verdict rests on the checks of the guarantee and on the simulated schedules of all scenarios. The schedules are run
once, before the first verdict that needs them; a violation is attributed to the guarantee that it breaks, whichever
scenario found it.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice

from attrs import define, field, frozen

from settled import SettledError
from settled_conformance.checks import Check, checks_of
from settled_conformance.contract.checked_backend import Violation
from settled_conformance.environment import Environment
from settled_conformance.fixture import BackendFixture, GuaranteeBrokenError
from settled_conformance.guarantees import GUARANTEES, Guarantee
from settled_conformance.harness import BackendKind, Harness
from settled_conformance.simulator.choices import (
    NO_DEVIATIONS,
    Choices,
    RandomChoices,
    ReplayedChoices,
    from_token,
    to_token,
)
from settled_conformance.simulator.explore import Deviations, pairs, shrink, singles
from settled_conformance.simulator.scenario import Scenario, ScenarioRun
from settled_conformance.simulator.scenarios import SCENARIOS

SHARES = (0.02, 0.06, 0.12)
"""Probabilities of a deviation at each choice of a random run: a few, some, or many faults per run."""


class VerdictStatus(StrEnum):
    """The result for one guarantee. VACUOUS: no violation was found, but the situation it is about never occurred."""

    PASS = "PASS"
    FAIL = "FAIL"
    VACUOUS = "VACUOUS"
    UNSUPPORTED = "UNSUPPORTED"
    XFAIL = "XFAIL"


@frozen
class Counterexample:
    """A schedule that breaks a guarantee, with as few deviations as could be found."""

    guarantee: str
    how: str
    token: str
    timeline: Sequence[str]

    def __str__(self) -> str:
        return f"{self.guarantee} violated   replay: {self.token}\n" + "\n".join(self.timeline)


@frozen
class Verdict:
    """The status of a guarantee, and the reason if it is not PASS."""

    guarantee: Guarantee
    status: VerdictStatus
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether this does not count as a failure."""
        return self.status in (VerdictStatus.PASS, VerdictStatus.UNSUPPORTED, VerdictStatus.XFAIL)


@define(eq=False)
class Session:
    """A test run of one harness.

    `schedules` is the number of schedules over all scenarios; None runs as many as fit into `budget` seconds. `seed`
    determines their order and the random ones. Exploration ends at the first violation of `stop_at`, if it is set.
    """

    harness: Harness
    schedules: int | None = None
    budget: float = 25.0
    seed: int = 0
    stop_at: str | None = None
    counterexamples: dict[str, Counterexample] = field(factory=dict[str, Counterexample])
    marks: set[str] = field(factory=set[str])
    runs: int = 0
    _explored: bool = False

    # Verdicts

    def verdicts(self) -> Iterator[Verdict]:
        """Yield a verdict for every guarantee, in order."""
        return map(self.verdict, GUARANTEES)

    def verdict(self, id: str) -> Verdict:
        """Return the verdict on the guarantee `id`."""
        guarantee = GUARANTEES[id]
        verdict = self._evaluate(guarantee)
        reason = self.harness.known_failures.get(id)
        if reason is None:
            return verdict
        if verdict.status is VerdictStatus.FAIL:
            return Verdict(guarantee, VerdictStatus.XFAIL, reason)
        return Verdict(
            guarantee, VerdictStatus.FAIL, f"is a known failure ({reason}) but did not fail: remove it from the list"
        )

    def _evaluate(self, guarantee: Guarantee) -> Verdict:
        if guarantee.survives_processes and self.harness.kind is BackendKind.MEMORY:
            return Verdict(guarantee, VerdictStatus.UNSUPPORTED, "a memory backend does not survive its process")
        if guarantee.needs is not None and guarantee.needs not in self.harness.capabilities:
            return Verdict(guarantee, VerdictStatus.UNSUPPORTED, f"{guarantee.needs} is not declared")
        marks = set[str]()
        for check in checks_of(guarantee.id):
            if not check.fits(self.harness):
                continue
            fault = self._run_check(check, marks)
            if fault is not None:
                return Verdict(guarantee, VerdictStatus.FAIL, fault)
        self.explore()  # after the checks: their failures are cheaper to find, and easier to read
        if guarantee.id in self.counterexamples:
            return Verdict(guarantee, VerdictStatus.FAIL, str(self.counterexamples[guarantee.id]))
        missing = [mark for mark in guarantee.marks if mark not in marks | self.marks]
        if missing:
            return Verdict(guarantee, VerdictStatus.VACUOUS, f"never happened: {', '.join(missing)}")
        return Verdict(guarantee, VerdictStatus.PASS)

    def _run_check(self, check: Check, marks: set[str]) -> str | None:
        fixture = BackendFixture(Environment.fresh(self.harness))
        try:
            check.check(fixture)
        except GuaranteeBrokenError as broken:
            return f"{check.name}: {_first(fixture, str(broken))}"
        except (SettledError, Exception) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"{check.name}: raised {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        finally:
            self.harness.instrument(None)
            fixture.environment.close()
        marks |= fixture.marks
        if fixture.environment.violations:
            return f"{check.name}: {_first(fixture, '')}"
        return None

    # Exploration

    def explore(self) -> None:
        """Run the schedules of all scenarios, unless that was done before."""
        if self._explored:
            return
        self._explored = True
        start, left = time.monotonic(), self._weight
        for scenario in self._scenarios:
            # A share of the time that is really left: scenarios that end early leave theirs to those after them.
            share = scenario.weight / left
            left -= scenario.weight
            self._explore(scenario, time.monotonic() + share * (self.budget - (time.monotonic() - start)))
            if self.stop_at in self.counterexamples:
                return

    @property
    def _scenarios(self) -> Sequence[Scenario]:
        return [scenario for scenario in SCENARIOS if scenario.fits(self.harness)]

    @property
    def _weight(self) -> float:
        return sum(scenario.weight for scenario in self._scenarios)

    def _explore(self, scenario: Scenario, end: float) -> None:
        # Seeded by name, so that a scenario's schedules do not depend on which other scenarios are run.
        source = random.Random(f"{self.seed} {scenario.name}")
        default_run = ReplayedChoices()
        self._run(scenario, default_run, NO_DEVIATIONS)
        share = None if self.schedules is None else max(1, round(self.schedules * scenario.weight / self._weight))
        for choices in islice(self._choice_sequences(default_run.options, source, share or 0), share):
            deviations = choices.deviations  # the same dict that random choices fill while they run
            self._run(scenario, choices, deviations)
            if self.stop_at in self.counterexamples or (self.schedules is None and time.monotonic() > end):
                return

    def _choice_sequences(
        self, options: list[int], source: random.Random, number: int
    ) -> Iterator[ReplayedChoices | RandomChoices]:
        """Yield every single deviation, shuffled; then sampled pairs; then random choices for ever."""
        single = list(singles(options))
        source.shuffle(single)
        yield from map(ReplayedChoices, single)
        yield from map(ReplayedChoices, islice(pairs(options, source), max(len(single), number) // 4))
        while True:
            yield RandomChoices(source, source.choice(SHARES))

    def _run(self, scenario: Scenario, choices: Choices, deviations: Deviations) -> None:
        run = self._run_once(scenario, choices)
        self.marks |= run.marks
        for guarantee in dict.fromkeys(each.guarantee for each in run.violations):
            if guarantee not in self.counterexamples:
                self.counterexamples[guarantee] = self._minimise(scenario, dict(deviations), guarantee)

    def _run_once(self, scenario: Scenario, choices: Choices) -> ScenarioRun:
        self.runs += 1
        environment = Environment.fresh(self.harness)
        try:
            return scenario.run(environment, choices)
        except Exception as error:
            how = f"raised {type(error).__name__}: {error}, outside of any call to a port"
            return ScenarioRun([*environment.violations, Violation("L1", how)], [f"{how}  << L1"], frozenset())
        finally:
            environment.close()

    def _minimise(self, scenario: Scenario, deviations: Mapping[int, int], guarantee: str) -> Counterexample:
        """Leave out deviations while the guarantee is still broken, and run the shortest schedule again."""
        smallest = shrink(lambda choices: self._run_once(scenario, choices), deviations, guarantee)
        run = self._run_once(scenario, ReplayedChoices(smallest))
        how = next((each.how for each in run.violations if each.guarantee == guarantee), "the violation did not recur")
        return Counterexample(guarantee, how, to_token(scenario.name, smallest), _up_to(run.timeline, guarantee))

    def replay(self, token: str) -> Sequence[str]:
        """Run the schedule that `token` names, and return its timeline.

        Raises:
            ValueError: `token` is malformed, or there is no such scenario.
        """
        name, deviations = from_token(token)
        scenario = next((each for each in SCENARIOS if each.name == name), None)
        if scenario is None:
            raise ValueError(f"no scenario {name!r}: there are {', '.join(each.name for each in SCENARIOS)}")
        run = self._run_once(scenario, ReplayedChoices(deviations))
        return run.timeline


def _first(fixture: BackendFixture, otherwise: str) -> str:
    """Return the first violation of the contract, else `otherwise`: a violation is nearer to the cause."""
    violations = fixture.environment.violations
    return f"{violations[0].guarantee}: {violations[0].how}" if violations else otherwise


def _up_to(timeline: Sequence[str], guarantee: str) -> Sequence[str]:
    """Return the timeline up to the line that breaks `guarantee`."""
    mark = f"<< {guarantee}"
    end = next((number for number, line in enumerate(timeline, 1) if line.endswith(mark)), len(timeline))
    return timeline[:end]
