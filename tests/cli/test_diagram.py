"""``settled diagram`` prints the text of a diagram, with the active states marked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from settled import compile_chart, dot, mermaid
from tests.cli.conftest import Settled

SIGNUP = Path(__file__).parents[2] / "examples" / "signup"
CHART = compile_chart((SIGNUP / "signup.json").read_text(encoding="utf-8"))
FILE = str(SIGNUP / "signup.json")


def test_the_format_is_mermaid_by_default(settled: Settled) -> None:
    assert settled("diagram", FILE).out == mermaid(CHART)
    assert settled("diagram", FILE, "--format", "mermaid").out == mermaid(CHART)
    assert settled("diagram", FILE, "--format", "dot").out == dot(CHART)


def test_a_machine_with_logic_is_drawn_the_same(settled: Settled) -> None:
    assert settled("diagram", str(SIGNUP)).out == mermaid(CHART)


@pytest.mark.parametrize("value", ["waitingForCode.wrongCode", '{"waitingForCode": "wrongCode"}'])
def test_a_state_is_marked_as_active(value: str, settled: Settled) -> None:
    result = settled("diagram", FILE, "--active", value)
    assert result.out == mermaid(CHART, CHART.resolve({"waitingForCode": "wrongCode"}))
    assert "class waitingForCode,waitingForCode__wrongCode active\n" in result.out


def test_the_active_states_of_an_instance_are_marked(settled: Settled, work: Callable[[], None]) -> None:
    assert settled("start", "door/front").status == 0
    work()
    result = settled("diagram", "tests.cli.door_machine:door", "--instance", "door/front")
    assert "  class shut active\n" in result.out


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("--active", "nowhere"), 2, 'no state "nowhere" in "signup" of the machine signup'),
        (("--active", '{"form"'), 2, "not JSON"),
        (("--active", "form", "--instance", "signup/ada"), 2, "not by both"),
        (("--instance", "signup/ada"), 1, "signup/ada: there is no such instance"),
        (("--instance", "ada"), 2, "'ada' is not a key: expected MACHINE/INSTANCE"),
        (("--instance", "door/front"), 2, "has signup, not door"),
        (("--machine", "other"), 2, "Name one of them with --machine"),
        (("--format", "svg"), 2, "svg"),
    ],
)
@pytest.mark.usefixtures("backend")
def test_an_error_is_one_line(words: tuple[str, ...], status: int, line: str, settled: Settled) -> None:
    result = settled("diagram", FILE, *words)
    assert (result.status, result.out) == (status, "")
    assert line in result.err and result.err.count("\n") == 1


def test_one_of_several_machines_is_chosen_by_its_id(tmp_path: Path, settled: Settled) -> None:
    configs: list[Any] = [{"id": id, "initial": "a", "states": {"a": {}}} for id in ("one", "two")]
    text = f"from settled import setup\nboth = [setup().machine(each) for each in {json.dumps(configs)}]\n"
    (tmp_path / "pair.py").write_text(text, encoding="utf-8")
    assert "pair:both has one, two. Name one of them" in settled("diagram", "pair:both").err
    assert 'title: "two"' in settled("diagram", "pair:both", "--machine", "two").out


def test_one_of_several_machines_is_chosen_by_its_instance(work: Callable[[], None], settled: Settled) -> None:
    settled("start", "door/front")
    work()
    found = "tests.cli.door_machine:door_and_gate"
    assert "  class shut active\n" in settled("diagram", found, "--instance", "door/front").out
    words = ("--machine", "gate", "--instance", "door/front")
    assert "door/front is not an instance of gate" in settled("diagram", found, *words).err
