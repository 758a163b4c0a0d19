"""``settled check``: what is wrong with a machine, before it runs.

The exit status is 1 if there are errors, and 2 if there is no machine to check; warnings and advice are no failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import asdict

from settled import DefinitionError, DefinitionProblem, Finding, check
from settled.analysis.finding import Severity
from settled_cli.arguments import AsJson
from settled_cli.charts import FileName, NamedChart, find_charts
from settled_cli.errors import CommandError, UsageError
from settled_cli.output import print_json


def check_file(file: FileName, /, *, json: AsJson = False) -> None:
    """Find what is wrong with a machine before it runs. The exit status is 1 if there are errors."""
    try:
        told = list(_told(file))
    except DefinitionError as error:
        _show_faults(file, error.problems, json)
        raise UsageError(f"{file} is no machine: {_counted(len(error.problems), 'fault')}") from error
    if json:
        print_json([{"machine": looked.chart.id, **asdict(finding)} for looked, finding in told])
    else:
        print("".join(f"{looked.name}: {finding}\n" for looked, finding in told), end="")
    _conclude(file, [finding for _, finding in told], json)


def _told(file: str) -> Iterator[tuple[NamedChart, Finding]]:
    for looked in find_charts(file):
        found = check(looked.chart) if looked.machine is None else looked.machine.check()
        yield from ((looked, finding) for finding in found)


def _show_faults(file: str, faults: Iterable[DefinitionProblem], json: bool) -> None:
    """A fault in JSON has the keys of a finding, so a script need not know which of the two it reads."""
    if json:
        known: dict[str, Any] = {"machine": None, "code": "invalid", "severity": "error"}
        print_json([{**known, **asdict(fault)} for fault in faults])
    else:
        print("".join(f"{file}: {fault}\n" for fault in faults), end="")


_WORDS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "advice": "piece of advice"}


def _conclude(file: str, findings: list[Finding], json: bool) -> None:
    counts = Counter(finding.severity for finding in findings)
    parts = [_counted(counts[severity], word) for severity, word in _WORDS.items() if counts[severity]]
    summary = f"{file}: {', '.join(parts) or 'nothing found'}"
    if counts["error"]:
        raise CommandError(summary)
    if not json:
        print(summary)


def _counted(count: int, word: str) -> str:
    one, *of = word.split(" ", 1)
    return " ".join([str(count), one if count == 1 else f"{one}s", *of])
