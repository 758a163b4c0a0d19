"""`Environment`: an empty backend of a harness, and the handles opened on it, all checked against one contract."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from settled.durable import Capability
from settled_conformance.contract.checked_backend import CheckedBackend, Contract, Violation
from settled_conformance.harness import Harness
from settled_conformance.loading import checked


@define(eq=False)
class Environment:
    """The storage behind a harness after a reset, and the open handles on it."""

    harness: Harness
    contract: Contract
    handles: list[CheckedBackend] = field(factory=list[CheckedBackend])

    @classmethod
    def fresh(cls, harness: Harness) -> Environment:
        """Reset `harness`, and open the first handle."""
        harness.reset()
        backend = checked(harness.open(), "open()")
        contract = Contract(harness.capabilities, backend.lease.total_seconds(), harness.tick / 2, harness.now)
        return cls(harness, contract, [CheckedBackend(backend, contract)])

    def limit_deduplication(self, count: int) -> None:
        """Let the queue remember only `count` acknowledged ids per key. Call this before anything is sent."""
        self.close()
        self.harness.limit_deduplication(count)
        self.contract.queue_checker.capabilities -= {Capability.DEDUPLICATION}
        self.handles[:] = [CheckedBackend(checked(self.harness.open(), "open()"), self.contract)]

    @property
    def violations(self) -> Sequence[Violation]:
        """The violations found so far."""
        return self.contract.violations

    @property
    def lease(self) -> float:
        """The length of a lease in seconds."""
        return self.contract.lease

    def open(self) -> CheckedBackend:
        """Open another handle, as another process would."""
        handle = CheckedBackend(checked(self.harness.open(), "open()"), self.contract)
        self.handles.append(handle)
        return handle

    def record_crash(self, how: str) -> None:
        """Report that the backend raised an error that no port may raise, which would end the calling process."""
        self.contract.report("D3", how)

    def close(self) -> None:
        """Close all handles."""
        for handle in self.handles:
            handle.close()
