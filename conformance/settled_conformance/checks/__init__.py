"""The checks: functions that provoke one fault each, and assert what must hold afterwards.

A check takes a `BackendFixture` and is registered under its guarantee by `@checks`. It fails if it raises, or if the
contract recorded any violation while it ran. Its name is shown in reports as a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from attrs import frozen

from settled.durable import Capability
from settled_conformance.fixture import BackendFixture
from settled_conformance.harness import Harness, HarnessFeature

CheckFunction = Callable[[BackendFixture], None]


@frozen
class Check:
    """A check of `guarantee`.

    The check is skipped if the backend does not declare the capability `needs`, or if the harness lacks `feature`; the
    guarantee is then tested by its other checks only.
    """

    guarantee: str
    check: CheckFunction
    needs: Capability | None = None
    feature: HarnessFeature | None = None

    def fits(self, harness: Harness) -> bool:
        """Return whether this check can run on `harness`."""
        is_declared = self.needs is None or self.needs in harness.capabilities
        return is_declared and (self.feature is None or self.feature in harness.features)

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")


_checks: list[Check] = []


def checks(
    guarantee: str, needs: Capability | None = None, feature: HarnessFeature | None = None
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the decorated function as a check of `guarantee`."""

    def register(check: CheckFunction) -> CheckFunction:
        _checks.append(Check(guarantee, check, needs, feature))
        return check

    return register


_MODULES = (
    "order",
    "machines",
    "leases",
    "fencing",
    "commits",
    "writes",
    "durability",
    "duplicates",
    "timers",
    "capabilities",
    "watching",
    "numbers",
    "names",
    "sizes",
    "headers",
    "pages",
    "host_duplicates",
    "host_outcomes",
    "host_timers",
    "host_growth",
    "host_versions",
    "stale_workers",
    "ids",
    "versions",
    "kill9",
)


def checks_of(guarantee: str) -> list[Check]:
    """Return the checks of `guarantee` in the order of their definition."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    return [check for check in _checks if check.guarantee == guarantee]
