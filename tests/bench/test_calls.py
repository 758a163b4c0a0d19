"""How much code one event runs through is counted, and bounded."""

from __future__ import annotations

import pytest

from bench.calls import trace_of_one_event


@pytest.mark.parametrize(("type", "calls", "changes"), [("ADD", 200, 100), ("TELL", 225, 128)])
def test_one_event_runs_through_little_code(type: str, calls: int, changes: int) -> None:
    trace = trace_of_one_event(type)
    assert len(trace.calls) <= calls
    assert trace.changes <= changes
