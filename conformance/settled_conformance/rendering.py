"""Renders a report as a terminal table, as Markdown, and as JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from settled_conformance.report import Report
from settled_conformance.session import Verdict, VerdictStatus

_COLOUR: Mapping[VerdictStatus, str] = {
    VerdictStatus.PASS: "green",
    VerdictStatus.FAIL: "bold red",
    VerdictStatus.VACUOUS: "bold yellow",
    VerdictStatus.UNSUPPORTED: "dim",
    VerdictStatus.XFAIL: "yellow",
}


def show(report: Report, console: Console) -> None:
    """Print the table of guarantees, the details of those that did not pass, and the summary."""
    table = Table(title=f"{report.adapter} ({report.kind})", title_justify="left", pad_edge=False, box=None)
    table.add_column("")
    table.add_column("guarantee")
    table.add_column("of")
    table.add_column("")
    for verdict in report.verdicts:
        guarantee = verdict.guarantee
        colour = _COLOUR[verdict.status]
        table.add_row(guarantee.id, guarantee.title, guarantee.owner, Text(verdict.status, style=colour))
    console.print(table)
    for verdict in report.verdicts:
        if verdict.detail:
            console.print(Text(f"\n{verdict.guarantee} {verdict.status}", style=_COLOUR[verdict.status]))
            console.print(Text(verdict.detail))
    console.print(f"\n{summary(report)}", style="green" if report.is_fine else "bold red", highlight=False)


def summary(report: Report) -> str:
    """Return the report in one line."""
    counts = ", ".join(f"{report.count(status)} {status}" for status in VerdictStatus if report.count(status))
    how_much = f"{report.schedules} schedules from seed {report.seed} in {report.seconds:g} s"
    return f"{report.badge}: {counts or 'nothing was tested, which is a failure'}; {how_much}"


def to_markdown(*reports: Report) -> str:
    """Return a Markdown table with a row for each guarantee and a column for each report."""
    lines = [
        f"| | guarantee | {' | '.join(report.adapter for report in reports)} |",
        f"|---|---|{'---|' * len(reports)}",
    ]
    by_adapter = [{verdict.guarantee.id: verdict for verdict in report.verdicts} for report in reports]
    guarantees = dict.fromkeys(verdict.guarantee for report in reports for verdict in report.verdicts)
    for guarantee in guarantees:
        cells = [str(found[guarantee.id].status) if guarantee.id in found else "" for found in by_adapter]
        lines.append(f"| {guarantee.id} | {guarantee.title} | {' | '.join(cells)} |")
    lines.append(f"| | | {' | '.join(report.badge for report in reports)} |")
    notes = [f"- {report.adapter}: {summary(report)}" for report in reports]
    return "\n".join([*lines, "", *notes]) + "\n"


def to_junit(report: Report) -> str:
    """Return JUnit XML. VACUOUS counts as a failure."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"settled conformance {report.adapter}",
        tests=str(len(report.verdicts)),
        failures=str(sum(not verdict.is_fine for verdict in report.verdicts)),
        skipped=str(report.count(VerdictStatus.UNSUPPORTED) + report.count(VerdictStatus.XFAIL)),
        errors="0",
        time=f"{report.seconds:g}",
    )
    for verdict in report.verdicts:
        _add(suite, report, verdict)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _add(suite: ElementTree.Element, report: Report, verdict: Verdict) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=report.adapter, name=str(verdict.guarantee))
    if verdict.status is VerdictStatus.PASS:
        return
    kind = "skipped" if verdict.is_fine else "failure"
    element = ElementTree.SubElement(
        case, kind, message=f"{verdict.status}: {_printable(verdict.detail.split(chr(10))[0])}"
    )
    element.text = _printable(verdict.detail)


def _printable(text: str) -> str:
    """Return `text` without characters that XML cannot represent; the suite sends a NUL, for one."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
