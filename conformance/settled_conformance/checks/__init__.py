"""The proofs: each provokes one thing that can go wrong, and says what must hold then.

A proof is a function of a `Bench`, and names the guarantee it is of. It fails by raising, or by anything at all that
the contract noticed meanwhile.
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
    """`check` proves `guarantee`.

    `needs` is what a backend must declare for it to be asked for. `offered` is what its harness must offer: without
    that the guarantee is tried by its other proofs only.
    """

    guarantee: str
    check: CheckFunction
    needs: Capability | None = None
    feature: HarnessFeature | None = None

    def fits(self, harness: Harness) -> bool:
        """Whether this can be tried on `harness`."""
        is_declared = self.needs is None or self.needs in harness.capabilities
        return is_declared and (self.feature is None or self.feature in harness.features)

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")


_checks: list[Check] = []


def checks(
    guarantee: str, needs: Capability | None = None, feature: HarnessFeature | None = None
) -> Callable[[CheckFunction], CheckFunction]:
    """The function below is a proof of `guarantee`."""

    def register(check: CheckFunction) -> CheckFunction:
        _checks.append(Check(guarantee, check, needs, feature))
        return check

    return register


_MODULES = (
    "order",
    "leases",
    "fencing",
    "commits",
    "writes",
    "durability",
    "duplicates",
    "timers",
    "capabilities",
    "numbers",
    "names",
    "sizes",
    "pages",
    "host_duplicates",
    "host_timers",
    "host_growth",
    "host_versions",
    "stale_workers",
    "ids",
    "versions",
    "kill9",
)


def checks_of(guarantee: str) -> list[Check]:
    """The proofs of `guarantee`, in their order."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    return [check for check in _checks if check.guarantee == guarantee]
