"""Run all checks on a machine: static analysis that finds mistakes before anything runs.

Checks read the chart and, where available, the program; they never call an implementation. A check reports only what is
certain, or else gives a warning that says on what it depends. ``docs/findings.md`` explains each finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from settled.analysis.dead_code import (
    declared_event_not_taken,
    event_not_taken,
    never_done,
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

Rule: TypeAlias = Callable[[AnalysisModel, Node], Iterator[Finding]]

CHECKS: tuple[Rule, ...] = (
    hangs,
    loops,
    event_not_taken,
    invokes_while_settled,
    error_not_taken,
    actor_id_taken,
    system_id_taken,
    shadowed,
    never_done,
)
"""The checks of each node that can be entered."""


def check(chart: Chart, program: Program | None = None) -> tuple[Finding, ...]:
    """Return all findings of `chart`, in document order. With `program`, its implementations are considered too."""
    return tuple(_findings(analysis_model(chart, program)))


def _findings(model: AnalysisModel) -> Iterator[Finding]:
    for node in model.chart.nodes:
        # Other findings about a node that is never entered would only repeat that.
        checks = CHECKS if node in model.reach.all else (unreachable,)
        for each in checks:
            yield from each(model, node)
    yield from declared_event_not_taken(model)
