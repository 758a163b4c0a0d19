"""A place: what a harness holds, fresh, and watched from the first call on."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from settled.durable import Capability
from settled_conformance.contract.checked_backend import CheckedBackend, Contract, Violation
from settled_conformance.harness import Harness
from settled_conformance.loading import checked


@define(eq=False)
class Environment:
    """An empty place, and the handles that were opened on it."""

    harness: Harness
    contract: Contract
    handles: list[CheckedBackend] = field(factory=list[CheckedBackend])

    @classmethod
    def fresh(cls, harness: Harness) -> Environment:
        """Empty the harness's place."""
        harness.reset()
        backend = checked(harness.open(), "open()")
        contract = Contract(harness.capabilities, backend.lease, harness.tick / 2, harness.now)
        return cls(harness, contract, [CheckedBackend(backend, contract)])

    def limit_deduplication(self, count: int) -> None:
        """Let the queue know only `count` acknowledged ids of a key again; before anything else happens here."""
        self.close()
        self.harness.limit_deduplication(count)
        self.contract.queue_checker.capabilities -= {Capability.DEDUPLICATION}
        self.handles[:] = [CheckedBackend(checked(self.harness.open(), "open()"), self.contract)]

    @property
    def violations(self) -> Sequence[Violation]:
        """What was broken here so far."""
        return self.contract.violations

    @property
    def lease(self) -> float:
        """How long a lease lasts, in seconds."""
        return self.contract.lease

    def open(self) -> CheckedBackend:
        """A handle of its own."""
        handle = CheckedBackend(checked(self.harness.open(), "open()"), self.contract)
        self.handles.append(handle)
        return handle

    def record_crash(self, how: str) -> None:
        """The backend raised what it must not: whatever was under way is lost with the process that it brought down."""
        self.contract.report("D3", how)

    def close(self) -> None:
        """Close all handles."""
        for handle in self.handles:
            handle.close()
