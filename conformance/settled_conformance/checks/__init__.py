"""The proofs: each provokes one thing that can go wrong, and says what must hold then.

A proof is a function of a `Bench`, and names the guarantee it is of. It fails by raising, or by anything at all that
the contract noticed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from attrs import frozen

from settled.durable import Capability
from settled_conformance.fixture import Bench
from settled_conformance.harness import Harness, Offer

Check = Callable[[Bench], None]


@frozen
class Proof:
    """`check` proves `guarantee`.

    `needs` is what a backend must declare for it to be asked for. `offered` is what its harness must offer: without
    that the guarantee is tried by its other proofs only.
    """

    guarantee: str
    check: Check
    needs: Capability | None = None
    offered: Offer | None = None

    def fits(self, harness: Harness) -> bool:
        """Whether this can be tried on `harness`."""
        is_declared = self.needs is None or self.needs in harness.capabilities
        return is_declared and (self.offered is None or self.offered in harness.offers)

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")


_proofs: list[Proof] = []


def proves(guarantee: str, needs: Capability | None = None, offered: Offer | None = None) -> Callable[[Check], Check]:
    """The function below is a proof of `guarantee`."""

    def note(check: Check) -> Check:
        _proofs.append(Proof(guarantee, check, needs, offered))
        return check

    return note


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
    "left_behind",
    "lives",
    "versions",
    "kill9",
)


def proofs_of(guarantee: str) -> list[Proof]:
    """The proofs of `guarantee`, in their order."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    return [proof for proof in _proofs if proof.guarantee == guarantee]
