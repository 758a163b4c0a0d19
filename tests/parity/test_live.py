"""The durable path does what live actors of the real XState do: cases recorded by ``live.mjs``, on a clock of its own.

Both are compared where all has come to rest: what each machine is, the events that it took, in their order, and what it
performed. Where they differ, the case stands in `DIFFERENT` with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from settled import DefinitionError
from tests.parity.compare import Case, cases_in, same
from tests.parity.live import played
from tests.parity.make_live import comes_to_rest, recorded

HERE = Path(__file__).parent
CASES = {case["id"]: case for case in cases_in(HERE / "live.jsonl.gz")}

OWN_FIRST = "what a machine sends itself comes before what others send it meanwhile; XState takes both as they are sent"
DEEP_FIRST = "in XState who is sent something takes it at once, and what follows from it comes before what is sent next"
ONE_MOMENT = "timers of two instances are due at one moment, and their order is that of delivery"
STARTS_FIRST = "XState starts the actors of the initial step before what stands ahead of them is done"
UNHEARD = "XState shows the snapshot of a function again for each event it is sent; here a function is sent none"
ONE_OF_A_NAME = "of functions that run under one id, the last is the one that is waited for"

DIFFERENT: Mapping[str, str] = {
    "family-49": OWN_FIRST,
    "family-64": DEEP_FIRST,
    "family-82": DEEP_FIRST,
    "family-96": DEEP_FIRST,
    "family-107": UNHEARD,
    "family-233": ONE_MOMENT,
    "family-235": UNHEARD,
    "live-g7707-182": STARTS_FIRST,
    "live-g7707-327": ONE_OF_A_NAME,
    "live-p2-225": ONE_MOMENT,
}


def difference(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> str | None:
    """The first difference between two plays; None if there is none."""
    for number, (one, other) in enumerate(zip(expected, got, strict=False)):
        found = _raised(one, other) if "raised" in one else _step(one, other)
        if found is not None:
            return f"step {number}: {found}"
    return None if len(expected) == len(got) else f"{len(expected)} steps expected, and {len(got)} got"


def _raised(expected: Mapping[str, Any], got: Mapping[str, Any]) -> str | None:
    """Check that an error which ends an actor in XState halts the instance in the state it was in."""
    seen = got["actors"].get(expected["raised"], {})
    return None if "halted" in seen else f"{expected['raised']} should be halted: {seen}"


def _step(expected: Mapping[str, Any], got: Mapping[str, Any]) -> str | None:
    if "stuck" in got or abs(expected["at"] - got["at"]) > 1e-6:
        return f"at {expected['at']} expected, and {got.get('at')} got"
    for kind in ("actors", "events", "actions"):
        for path in sorted(expected[kind].keys() | got[kind].keys()):
            wanted, found = expected[kind].get(path), got[kind].get(path)
            if kind == "actors":
                wanted, found = _comparable(wanted), _comparable(found)
            if not same(wanted, found):
                return f"{kind} of {path}\n    expected {json.dumps(wanted)}\n    got      {json.dumps(found)}"
    return None


def _comparable(view: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """`view` without what is not compared: what has raised at the start is in no state, and of a machine that has ended
    XState's snapshot tells what became of its actors since.
    """
    if view is None or view["status"] == "active":
        return view
    if isinstance(view.get("error"), Mapping) and {"$error", "name"} & view["error"].keys():
        return {"status": view["status"]}
    return {key: value for key, value in view.items() if key != "children"}


def answer(case: Case) -> str | None:
    try:
        return difference(case["expected"]["steps"], played(case))
    except DefinitionError as error:
        return str(error)


def test_live_actors_and_instances_come_to_the_same() -> None:
    found = {id: what for id, case in CASES.items() if id not in DIFFERENT and (what := answer(case))}
    assert found == {}
    assert len(CASES) > 350


@pytest.mark.parametrize("id", DIFFERENT)
def test_what_is_said_to_differ_does(id: str) -> None:
    assert answer(CASES[id]) is not None


def test_the_record_is_what_xstate_does() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node on this machine, so nothing can be recorded anew")
    if not (HERE / "node_modules" / "xstate").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True)
    asked = [{key: value for key, value in case.items() if key != "expected"} for case in CASES.values()]
    for case, fresh in zip(CASES.values(), recorded(asked), strict=True):
        assert comes_to_rest(fresh)
        assert fresh == case["expected"], case["id"]
