"""Backends that go on after their data were lost, as if they had never had any."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.faulty.reference import Plain


class SendsToAnEmptiedQueue(Plain):
    """A send is confirmed by a server that has forgotten everything else."""

    def require_same_data(self, call: str) -> None:
        if call != "send":
            super().require_same_data(call)


class ReceivesFromAnEmptiedQueue(Plain):
    """A worker goes on waiting at a server that has forgotten everything."""

    def require_same_data(self, call: str) -> None:
        if call != "receive":
            super().require_same_data(call)


class CommitsToAnEmptiedStore(Plain):
    """A commit is confirmed by a server that has forgotten everything else."""

    def require_same_data(self, call: str) -> None:
        if call != "commit":
            super().require_same_data(call)


class LoadsFromAnEmptiedStore(Plain):
    """An instance that was lost counts as one that was never started."""

    def require_same_data(self, call: str) -> None:
        if call != "load":
            super().require_same_data(call)


LOSS_FAULTS: Mapping[type[Plain], str] = {
    SendsToAnEmptiedQueue: "D1",
    ReceivesFromAnEmptiedQueue: "D1",
    CommitsToAnEmptiedStore: "D2",
    LoadsFromAnEmptiedStore: "D2",
}
