"""`Report`: the verdict of every guarantee, with what is needed to judge and reproduce it.

That is the kind of backend, the number of schedules, their seed, and versions. A report in which nothing passed is a
failure.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import frozen

from settled_conformance.harness import Harness
from settled_conformance.session import Session, Verdict, VerdictStatus


@frozen
class Report:
    """The verdicts on one adapter."""

    adapter: str
    kind: str
    capabilities: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    seed: int
    schedules: int
    seconds: float
    versions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, adapter: str, session: Session, verdicts: Sequence[Verdict], seconds: float) -> Report:
        """Return the report on `adapter` after `session`."""
        harness: Harness = session.harness
        return cls(
            adapter=adapter,
            kind=str(harness.kind),
            capabilities=tuple(sorted(map(str, harness.capabilities))),
            verdicts=tuple(verdicts),
            seed=session.seed,
            schedules=session.runs,
            seconds=round(seconds, 1),
            versions=(("settled", _installed("settled")), ("python", platform.python_version())),
        )

    def count(self, status: VerdictStatus) -> int:
        """Return the number of guarantees with `status`."""
        return sum(verdict.status is status for verdict in self.verdicts)

    @property
    def badge(self) -> str:
        """The badge of the adapter, such as ``47/47 real``: passed guarantees, of those that were asked for."""
        held = len(self.verdicts) - self.count(VerdictStatus.UNSUPPORTED)
        return f"{self.count(VerdictStatus.PASS)}/{held} {self.kind}"

    @property
    def is_fine(self) -> bool:
        """Whether every verdict is fine, and at least one is PASS."""
        return self.count(VerdictStatus.PASS) > 0 and all(verdict.is_fine for verdict in self.verdicts)


def to_json(report: Report) -> str:
    """Return the whole report as JSON."""
    return json.dumps(_plain(report), indent=2, ensure_ascii=False)


def _plain(report: Report) -> dict[str, Any]:
    return {
        "adapter": report.adapter,
        "kind": report.kind,
        "badge": report.badge,
        "passed": report.is_fine,
        "capabilities": list(report.capabilities),
        "seed": report.seed,
        "schedules": report.schedules,
        "seconds": report.seconds,
        "versions": dict(report.versions),
        "guarantees": [
            {
                "id": verdict.guarantee.id,
                "title": verdict.guarantee.title,
                "whose": verdict.guarantee.owner,
                "status": str(verdict.status),
                "detail": verdict.detail,
            }
            for verdict in report.verdicts
        ],
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
