"""Checks: what is surely wrong with a machine, found before anything runs.

A check looks at the chart, and at logic where that is at hand; it runs none of it. What it cannot be sure of it does
not tell, or tells as a warning that says what it would take to be wrong. ``docs/findings.md`` explains each finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from settled.analysis.dead_code import (
    declared_event_not_taken,
    event_not_taken,
    never_done,
    no_snapshots,
    shadowed,
    unreachable,
)
from settled.analysis.finding import Finding
from settled.analysis.liveness import (
    actor_id_taken,
    error_not_taken,
    hangs,
    invokes_while_settled,
    loops,
    system_id_taken,
)
from settled.analysis.model import AnalysisModel, analysis_model
from settled.chart.chart import Chart
from settled.chart.nodes import Node
from settled.chart.program import Program

Check: TypeAlias = Callable[[AnalysisModel, Node], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    hangs,
    loops,
    event_not_taken,
    invokes_while_settled,
    error_not_taken,
    actor_id_taken,
    system_id_taken,
    shadowed,
    never_done,
    no_snapshots,
)
"""What is asked of each node that can be entered."""


def check(chart: Chart, program: Program | None = None) -> tuple[Finding, ...]:
    """All findings of `chart`, in document order; with `program`, what its names mean is looked at too."""
    return tuple(_findings(analysis_model(chart, program)))


def _findings(known: AnalysisModel) -> Iterator[Finding]:
    for node in known.chart.nodes:
        checks = CHECKS if node in known.reach.all else (unreachable,)
        for each in checks:
            yield from each(known, node)
    yield from declared_event_not_taken(known)
