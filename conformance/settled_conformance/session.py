"""A session: one harness, every guarantee, one verdict each.

A guarantee is proven by its own proofs and by what all explorations found out about it. So the explorations are made
once, before the first verdict that needs them, and what they found is told under the guarantee that was broken.
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
from settled_conformance.simulator.choices import PLAIN, Choices, RandomChoices, ReplayedChoices, from_token, to_token
from settled_conformance.simulator.explore import Deviations, pairs, shrink, singles
from settled_conformance.simulator.scenario import Scenario, ScenarioRun
from settled_conformance.simulator.scenarios import SCENARIOS

SHARES = (0.02, 0.06, 0.12)
"""How often a random run leaves the plain way: seldom, sometimes, and nearly always somewhere."""


class VerdictStatus(StrEnum):
    """What became of a guarantee."""

    PASS = "PASS"
    FAIL = "FAIL"
    VACUOUS = "VACUOUS"
    UNSUPPORTED = "UNSUPPORTED"
    XFAIL = "XFAIL"


@frozen
class Counterexample:
    """A schedule that broke a guarantee, made as short as it would go."""

    guarantee: str
    how: str
    token: str
    timeline: Sequence[str]

    def __str__(self) -> str:
        return f"{self.guarantee} violated   replay: {self.token}\n" + "\n".join(self.timeline)


@frozen
class Verdict:
    """The status of a guarantee, and why it is not PASS."""

    guarantee: Guarantee
    status: VerdictStatus
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.status in (VerdictStatus.PASS, VerdictStatus.UNSUPPORTED, VerdictStatus.XFAIL)


@define(eq=False)
class Session:
    """The examination of one harness.

    `schedules` is how many schedules are run over all scenarios; None: as many as fit into `budget` seconds. Each
    scenario begins with its single deviations. `seed` is that of the order and of the random ones.
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
        """All guarantees, in their order."""
        return map(self.verdict, GUARANTEES)

    def verdict(self, id: str) -> Verdict:
        """What became of the guarantee `id`."""
        guarantee = GUARANTEES[id]
        verdict = self._evaluate(guarantee)
        reason = self.harness.known_failures.get(id)
        if reason is None:
            return verdict
        if verdict.status is VerdictStatus.FAIL:
            return Verdict(guarantee, VerdictStatus.XFAIL, reason)
        return Verdict(
            guarantee, VerdictStatus.FAIL, f"is declared to fail ({reason}), and does not: take it off the list"
        )

    def _evaluate(self, guarantee: Guarantee) -> Verdict:
        if guarantee.survives_processes and self.harness.kind is BackendKind.MEMORY:
            return Verdict(guarantee, VerdictStatus.UNSUPPORTED, "what is of kind memory dies with its process")
        if guarantee.needs is not None and guarantee.needs not in self.harness.capabilities:
            return Verdict(guarantee, VerdictStatus.UNSUPPORTED, f"{guarantee.needs} is not declared")
        marks = set[str]()
        for check in checks_of(guarantee.id):
            if not check.fits(self.harness):
                continue
            fault = self._run_check(check, marks)
            if fault is not None:
                return Verdict(guarantee, VerdictStatus.FAIL, fault)
        self.explore()
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
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"{check.name}: raised {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        finally:
            self.harness.instrument(None)
            fixture.place.close()
        marks |= fixture.marks
        if fixture.place.violations:
            return f"{check.name}: {_first(fixture, '')}"
        return None

    # Explorations

    def explore(self) -> None:
        """Run the schedules, once."""
        if self._explored:
            return
        self._explored = True
        begun, left = time.monotonic(), self._weight
        for scenario in self._scenarios:
            share = scenario.weight / left
            left -= scenario.weight
            self._explore(scenario, time.monotonic() + share * (self.budget - (time.monotonic() - begun)))
            if self.stop_at in self.counterexamples:
                return

    @property
    def _scenarios(self) -> Sequence[Scenario]:
        return [scenario for scenario in SCENARIOS if scenario.fits(self.harness)]

    @property
    def _weight(self) -> float:
        return sum(scenario.weight for scenario in self._scenarios)

    def _explore(self, scenario: Scenario, end: float) -> None:
        source = random.Random(f"{self.seed} {scenario.name}")
        default_run = ReplayedChoices()
        self._run(scenario, default_run, PLAIN)
        share = None if self.schedules is None else max(1, round(self.schedules * scenario.weight / self._weight))
        for choices in islice(self._choice_sequences(default_run.ways, source, share or 0), share):
            deviations = choices.deviations
            self._run(scenario, choices, deviations)
            if self.stop_at in self.counterexamples or (self.schedules is None and time.monotonic() > end):
                return

    def _choice_sequences(
        self, ways: list[int], source: random.Random, number: int
    ) -> Iterator[ReplayedChoices | RandomChoices]:
        """Every single deviation, in an order of no meaning; then sampled pairs; then random ones."""
        single = list(singles(ways))
        source.shuffle(single)
        yield from map(ReplayedChoices, single)
        yield from map(ReplayedChoices, islice(pairs(ways, source), max(len(single), number) // 4))
        while True:
            yield RandomChoices(source, source.choice(SHARES))

    def _run(self, scenario: Scenario, choices: Choices, deviations: Deviations) -> None:
        run = self._run_once(scenario, choices)
        self.marks |= run.marks
        for guarantee in dict.fromkeys(each.guarantee for each in run.violations):
            if guarantee not in self.counterexamples:
                self.counterexamples[guarantee] = self._shortest(scenario, dict(deviations), guarantee)

    def _run_once(self, scenario: Scenario, choices: Choices) -> ScenarioRun:
        self.runs += 1
        place = Environment.fresh(self.harness)
        try:
            return scenario.run(place, choices)
        except Exception as error:
            how = f"raised {type(error).__name__}: {error}, outside of any call to a port"
            return ScenarioRun([*place.violations, Violation("L1", how)], [f"{how}  << L1"], frozenset())
        finally:
            place.close()

    def _shortest(self, scenario: Scenario, deviations: Mapping[int, int], guarantee: str) -> Counterexample:
        smallest = shrink(lambda choices: self._run_once(scenario, choices), deviations, guarantee)
        return self._found(scenario, smallest, guarantee)

    def _found(self, scenario: Scenario, deviations: Deviations, guarantee: str) -> Counterexample:
        run = self._run_once(scenario, ReplayedChoices(deviations))
        how = next((each.how for each in run.violations if each.guarantee == guarantee), "not again")
        return Counterexample(guarantee, how, to_token(scenario.name, deviations), _up_to(run.timeline, guarantee))

    def replay(self, token: str) -> Sequence[str]:
        """The timeline of the run that `token` names.

        Raises:
            ValueError: there is no such run.
        """
        name, deviations = from_token(token)
        scenario = next((each for each in SCENARIOS if each.name == name), None)
        if scenario is None:
            raise ValueError(f"no scenario {name!r}: there are {', '.join(each.name for each in SCENARIOS)}")
        run = self._run_once(scenario, ReplayedChoices(deviations))
        return run.timeline


def _first(fixture: BackendFixture, otherwise: str) -> str:
    """What the contract noticed first: it is nearer to the cause than what the proof missed at the end."""
    violations = fixture.place.violations
    return f"{violations[0].guarantee}: {violations[0].how}" if violations else otherwise


def _up_to(timeline: Sequence[str], guarantee: str) -> Sequence[str]:
    """The timeline up to the line that breaks `guarantee`."""
    mark = f"<< {guarantee}"
    end = next((number for number, line in enumerate(timeline, 1) if line.endswith(mark)), len(timeline))
    return timeline[:end]
