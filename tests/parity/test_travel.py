"""One instance travels: settled takes an event, the real XState the next one, and so on. Nobody can tell who did."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from settled import Machine, Snapshot, from_xstate_json, to_xstate_json
from tests.parity.actor_trees import family
from tests.parity.compare import Case, cases_in, difference
from tests.parity.runner import machine_of, seen

HERE = Path(__file__).parent
RESTING = ("value", "context", "status", "output", "tags", "children", "history", "meta")


class Node:
    """The real XState, at the other end of a pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "travel.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, **request: Any) -> str:
        """Send `request` to XState, and return the snapshot that it persists then, as text."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node on this machine, so nowhere to travel to")
    if not (HERE / "node_modules" / "xstate").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True)
    node = Node()
    yield node
    node.close()


def travellers() -> list[Case]:
    """Cases in which nothing is thrown and XState keeps its own order: every other one of the corpus."""
    cases = [case for case in cases_in(HERE / "fuzz.jsonl.gz") if "invalid" not in case["expected"]]
    return [case for case in cases if not any("thrown" in str(step.get("error")) for step in case["expected"]["steps"])]


def test_a_few_hundred_cases_come_home_with_every_step_as_recorded(node: Node) -> None:
    lost: dict[str, str] = {}
    cases = travellers()[::2]
    for case in cases:
        found = journey(node, case)
        if found is not None:
            lost[case["id"]] = found
    assert len(cases) > 200
    assert lost == {}


def journey(node: Node, case: Case) -> str | None:
    """Where `case` went another way than XState alone; None if it did not."""
    machine = machine_of(case["config"])
    snapshot, _ = machine.initial_transition(case.get("input"))
    for number, event in enumerate(case["events"], 1):
        if snapshot.status != "active":
            return None
        snapshot = travelled(node, machine, case, snapshot, event) if number % 2 else stepped(machine, snapshot, event)
        found = difference(
            {"steps": [resting(case["expected"]["steps"][number])]}, {"steps": [resting(seen(snapshot))]}
        )
        if found is not None:
            return f"event {number}: {found}"
    return None


def resting(step: Mapping[str, Any]) -> dict[str, Any]:
    """`step` without what was done on the way to where the machine rests."""
    return {
        key: value
        for key, value in step.items()
        if key in ("value", "context", "status", "output", "tags", "children", "history", "meta")
    }


def stepped(machine: Machine[Any], snapshot: Snapshot[Any], event: Any) -> Snapshot[Any]:
    return machine.transition(snapshot, event)[0]


def travelled(node: Node, machine: Machine[Any], case: Case, snapshot: Snapshot[Any], event: Any) -> Snapshot[Any]:
    return machine.load(node(config=case["config"], snapshot=json.loads(machine.dump(snapshot)), event=event))


def test_what_settled_dumps_is_what_xstate_would_persist(node: Node) -> None:
    for case in travellers()[::10]:
        machine = machine_of(case["config"])
        snapshot, _ = machine.initial_transition(case.get("input"))
        if snapshot.status != "active":
            continue
        dumped = json.loads(machine.dump(snapshot))
        persisted = json.loads(node(config=case["config"], snapshot=dumped))
        assert without_children(persisted) == without_children(dumped), case["id"]
        assert set(persisted["children"]) == set(dumped["children"])


def without_children(persisted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Children carry what only Node knows of an actor that runs there, such as its input."""
    return {key: value for key, value in persisted.items() if key != "children"}


class TestAFamily:
    def test_comes_from_node_with_its_children(self, node: Node) -> None:
        text = node(family=True, event={"type": "MARRY"})
        for _ in range(2):
            text = node(family=True, snapshot=json.loads(text), event={"type": "PING"})
        found = from_xstate_json(family(), text)
        assert found.snapshot.value == "together"
        assert found.snapshot.children["kid"].system_id == "the-kid"
        assert found.children["kid"].snapshot.value == "pinged"
        assert found.children["kid"].snapshot.context == {"heard": ["PING", "PING"]}

    def test_goes_back_to_node_with_its_children(self, node: Node) -> None:
        machine = family()
        found = from_xstate_json(machine, node(family=True, event={"type": "MARRY"}))
        text = to_xstate_json(machine, found)
        home = from_xstate_json(machine, node(family=True, snapshot=json.loads(text), event={"type": "PING"}))
        assert home.children["kid"].snapshot.context == {"heard": ["PING"]}
