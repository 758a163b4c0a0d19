"""How much code one event runs through is counted, and bounded."""

from __future__ import annotations

from bench.calls import trace_of_one_event


def test_one_event_runs_through_little_code() -> None:
    trace = trace_of_one_event()
    assert len(trace.calls) <= 200
    assert trace.changes <= 132
    assert trace.to_read.changes <= 100
