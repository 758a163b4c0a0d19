"""``settled check``: find mistakes in a machine before it runs.

The exit status is 1 if there are errors, 2 if the file is not a valid machine, and 0 if there are only warnings or
advice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict

from settled import DefinitionError, DefinitionProblem, Finding, check
from settled.analysis.finding import Severity
from settled.printable import printable
from settled_cli.arguments import AsJson, FileName
from settled_cli.errors import CommandError, UsageError
from settled_cli.machines import NamedChart, find_charts
from settled_cli.output import print_json, print_line

_WORDS: Mapping[Severity, tuple[str, str]] = {
    "error": ("error", "errors"),
    "warning": ("warning", "warnings"),
    "advice": ("piece of advice", "pieces of advice"),
}
"""Singular and plural of each severity, the most severe first."""


def check_file(file: FileName, /, *, json: AsJson = False) -> None:
    """Find mistakes in a machine before it runs. The exit status is 1 if there are errors."""
    try:
        findings = [(chart, finding) for chart in find_charts(file) for finding in _check(chart)]
    except DefinitionError as error:
        _print_problems(file, error.problems, json)
        count = _count(len(error.problems), "problem", "problems")
        raise UsageError(f"{file} is not a valid machine: {count}") from error
    if json:
        print_json([{"machine": chart.chart.id, **asdict(finding)} for chart, finding in findings])
    else:
        print("".join(f"{printable(chart.name)}: {finding}\n" for chart, finding in findings), end="")
    _print_summary(file, [finding for _, finding in findings], json)


def _check(chart: NamedChart) -> Iterable[Finding]:
    return check(chart.chart) if chart.machine is None else chart.machine.check()


def _print_problems(file: str, problems: Iterable[DefinitionProblem], json: bool) -> None:
    if json:
        # A problem gets the keys of a finding, so that a script need not know which of the two it reads.
        known: dict[str, Any] = {"machine": None, "code": "invalid", "severity": "error"}
        print_json([{**known, **asdict(problem)} for problem in problems])
    else:
        print("".join(f"{printable(file)}: {problem}\n" for problem in problems), end="")


def _print_summary(file: str, findings: list[Finding], json: bool) -> None:
    counts = Counter(finding.severity for finding in findings)
    parts = [_count(counts[severity], *words) for severity, words in _WORDS.items() if counts[severity]]
    summary = f"{file}: {', '.join(parts) or 'nothing found'}"
    if counts["error"]:
        raise CommandError(summary)
    if not json:
        print_line(summary)


def _count(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
