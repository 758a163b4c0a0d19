"""The command ``settled conformance``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from settled_conformance.guarantees import GUARANTEES
from settled_conformance.loading import HarnessError, load_harness
from settled_conformance.rendering import show, to_junit, to_markdown
from settled_conformance.report import Report, to_json
from settled_conformance.session import Session, Verdict


def conformance(
    adapter: str,
    *,
    schedules: int | None = None,
    seed: int = 0,
    replay: str | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    junit: Path | None = None,
) -> None:
    """Test an adapter against every guarantee, and print the table.

    Args:
        adapter: MODULE:FACTORY, a function that makes the adapter's harness, such as settled_local:sqlite.
        schedules: How many random schedules to run. Without it, as many as fit into half a minute.
        seed: The seed of the random schedules.
        replay: Run one schedule again, by the token that a failure printed, print its timeline, and test nothing else.
        json: Write the report to this file as JSON.
        markdown: Write the report to this file as a Markdown table.
        junit: Write the report to this file as JUnit XML.

    Raises:
        SystemExit: 1 if a guarantee is not kept, 2 if there is no harness or no such schedule.
    """
    console = Console(soft_wrap=True)
    try:
        session = Session(load_harness(adapter), schedules, seed=seed)
        if replay is not None:
            _replay(session, replay, console)
            return
    except (HarnessError, ValueError) as error:
        print(f"settled: {error}", file=sys.stderr)
        sys.exit(2)
    start = time.monotonic()
    verdicts = tuple(_verdicts(session, console))
    report = Report.of(adapter, session, verdicts, time.monotonic() - start)
    show(report, console)
    for file, text in ((json, to_json), (markdown, to_markdown), (junit, to_junit)):
        if file is not None:
            file.write_text(text(report), encoding="utf-8")
    if not report.is_fine:
        sys.exit(1)


def _verdicts(session: Session, console: Console) -> Iterator[Verdict]:
    """Yield the verdicts, showing the guarantee that is being tested meanwhile."""
    with console.status("") as status:
        for id in GUARANTEES:
            status.update(str(GUARANTEES[id]))
            yield session.verdict(id)


def _replay(session: Session, token: str, console: Console) -> None:
    timeline = session.replay(token)
    for line in timeline:
        console.print(line, markup=False, highlight=False)
    if any("  << " in line for line in timeline):
        sys.exit(1)
