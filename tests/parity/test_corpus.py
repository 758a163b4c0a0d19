"""settled does what the real XState did: traces of XState 5.33.3, recorded by ``oracle.mjs``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.compare import Case, cases_in, difference
from tests.parity.runner import run

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["fuzz", "probes"])
def test_every_recorded_trace_is_reproduced(name: str) -> None:
    cases = list(cases_in(HERE / f"{name}.jsonl.gz"))
    assert differing(cases) == {}


@pytest.mark.parametrize("name", ["fuzz", "probes"])
def test_a_snapshot_may_be_stored_between_any_two_events(name: str) -> None:
    cases = list(cases_in(HERE / f"{name}.jsonl.gz"))[::5]
    assert differing(cases, is_stored=True) == {}


def differing(cases: list[Case], is_stored: bool = False) -> dict[str, str]:
    found = {case["id"]: difference(case["expected"], run(case, is_stored=is_stored)) for case in cases}
    return {id: what for id, what in found.items() if what}
