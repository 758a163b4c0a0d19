"""How much code one event runs through is counted, and bounded."""

from __future__ import annotations

from bench.calls import trace_of_one_event

MAX_CALLS, MAX_CHANGES = 219, 152


def test_one_event_runs_through_little_code() -> None:
    trace = trace_of_one_event()
    assert len(trace.calls) <= MAX_CALLS
    assert trace.changes <= MAX_CHANGES
