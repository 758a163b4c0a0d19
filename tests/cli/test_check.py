"""``settled check``: a line for each finding, JSON for scripts, and a status that says who has to do something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from settled_cli.app import run
from tests.cli.conftest import Settled

SIGNUP = Path(__file__).parents[2] / "examples" / "signup"
HANGING: dict[str, Any] = {
    "id": "m",
    "initial": "a",
    "states": {"a": {"on": {"E": "b"}}, "b": {"tags": "settled"}, "lost": {}},
}


@pytest.fixture
def hanging(tmp_path: Path) -> str:
    return written(tmp_path, HANGING)


def written(folder: Path, config: Any) -> str:
    (folder / "m.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return "m.json"


@pytest.mark.parametrize("file", [SIGNUP / "signup.json", SIGNUP])
def test_the_example_has_no_findings(file: Path, settled: Settled) -> None:
    said = settled("check", str(file))
    assert (said.status, said.out, said.err) == (0, f"{file}: nothing found\n", "")
    said = settled("check", str(file), "--json")
    assert (said.status, said.json) == (0, [])


def test_an_error_is_a_line_with_its_remedy_and_status_1(hanging: str, settled: Settled) -> None:
    said = settled("check", hanging)
    error, remedy, warning, _ = said.out.splitlines()
    assert said.status == 1
    assert error.startswith('m.json: states.a: error: "m.a" is not settled') and error.endswith("(hangs)")
    assert 'tag it "settled"' in remedy
    assert warning.startswith("m.json: states.lost: warning: ")
    assert said.err == "settled: m.json: 1 error, 1 warning\n"


def test_warnings_alone_are_no_failure(tmp_path: Path, settled: Settled) -> None:
    said = settled("check", written(tmp_path, {"id": "m", "initial": "a", "states": {"a": {}, "b": {}, "c": {}}}))
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "m.json: 2 warnings"


def test_nor_is_advice(tmp_path: Path, settled: Settled) -> None:
    invoke = {"src": "work", "onDone": "b"}
    config = {"id": "m", "initial": "a", "states": {"a": {"invoke": invoke}, "b": {"invoke": invoke}}}
    said = settled("check", written(tmp_path, config))
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("m.json: states.a.invoke: advice: ")
    assert said.out.splitlines()[-1] == "m.json: 2 pieces of advice"


def test_a_script_reads_json(hanging: str, settled: Settled) -> None:
    said = settled("check", hanging, "--json")
    assert said.status == 1
    assert [(each["machine"], each["code"], each["severity"], each["path"]) for each in said.json] == [
        ("m", "hangs", "error", "states.a"),
        ("m", "unreachable", "warning", "states.lost"),
    ]
    assert set(said.json[0]) == {"machine", "code", "severity", "path", "problem", "remedy"}


def test_a_module_is_checked_with_its_logic(tmp_path: Path, settled: Settled) -> None:
    config = {"id": "m", "initial": "a", "states": {"a": {"entry": "say", "on": {"GO": "b"}}, "b": {"tags": "settled"}}}
    logic = "setup(actions={'say': raise_({'type': 'GO'})})"
    text = f"from settled import raise_, setup\none = {logic}.machine({config})\n"
    (tmp_path / "ready.py").write_text(text, encoding="utf-8")
    assert settled("check", "ready:one").status == 0
    assert "unless the action" in settled("check", written(tmp_path, config)).out


class TestNoMachine:
    """Status 2, and what to do about each fault."""

    def test_each_fault_is_told_with_its_remedy(self, tmp_path: Path, settled: Settled) -> None:
        config = {"id": "m", "initial": "a", "states": {"a": {"on": {"E": "b", "F": {"cond": "x"}}}, "b": {}}}
        said = settled("check", written(tmp_path, config))
        assert said.status == 2
        assert said.out.splitlines() == [
            "m.json: states.a.on.F.cond: no such key",
            '  This is XState v4. In v5 it is called "guard".',
        ]
        assert said.err == "settled: m.json is no machine: 1 fault\n"

    def test_in_json_too(self, tmp_path: Path, settled: Settled) -> None:
        config = {"id": "m", "initial": "a", "states": {"a": {"on": {"E": "bb"}}, "b": {}}}
        said = settled("check", written(tmp_path, config), "--json")
        assert said.status == 2
        assert [(each["code"], each["path"]) for each in said.json] == [("invalid", "states.a.on.E.target")]
        assert 'Did you mean "b"?' in said.json[0]["remedy"]

    @pytest.mark.parametrize(
        ("text", "problem"), [("{", "not JSON"), ("[]", "a machine is a JSON object"), ("", "not JSON")]
    )
    def test_nor_is_any_other_text(self, text: str, problem: str, tmp_path: Path, settled: Settled) -> None:
        said = settled("check", written(tmp_path, text))
        assert said.status == 2
        assert problem in said.out

    @pytest.mark.parametrize(
        ("file", "line"),
        [
            ("nothing.json", "cannot read nothing.json: No such file or directory"),
            ("machine.py", "machine.py is Python. Give module:attribute, or a folder that has a machine.py"),
            ("nothing", "'nothing' names no machine."),
        ],
    )
    def test_nor_is_what_is_not_there(self, file: str, line: str, settled: Settled) -> None:
        said = settled("check", file)
        assert (said.status, said.out) == (2, "")
        assert said.err.startswith(f"settled: {line}") and said.err.count("\n") == 1

    def test_nor_is_what_is_not_text(self, tmp_path: Path, settled: Settled) -> None:
        (tmp_path / "m.json").write_bytes(b"\xff\xfe")
        assert settled("check", "m.json").err == "settled: cannot read m.json: it is not UTF-8\n"


def test_the_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "check" in shown and "diagram" in shown
