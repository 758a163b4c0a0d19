"""``settled check`` prints a line for each finding or JSON, and exits with 1 for errors, 2 for an invalid machine."""

from __future__ import annotations

import json
import subprocess
import sys
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
    return write(tmp_path, HANGING)


def write(folder: Path, config: Any) -> str:
    (folder / "m.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return "m.json"


@pytest.mark.parametrize("file", [SIGNUP / "signup.json", SIGNUP])
def test_the_example_has_no_findings(file: Path, settled: Settled) -> None:
    result = settled("check", str(file))
    assert (result.status, result.out, result.err) == (0, f"{file}: nothing found\n", "")
    result = settled("check", str(file), "--json")
    assert (result.status, result.json) == (0, [])


def test_an_error_is_a_line_with_its_remedy_and_status_1(hanging: str, settled: Settled) -> None:
    result = settled("check", hanging)
    error, remedy, warning, _ = result.out.splitlines()
    assert result.status == 1
    assert error.startswith('m.json: states.a: error: "m.a" is not settled') and error.endswith("(hangs)")
    assert 'tag it "settled"' in remedy
    assert warning.startswith("m.json: states.lost: warning: ")
    assert result.err == "settled: m.json: 1 error, 1 warning\n"


def test_warnings_alone_exit_with_0(tmp_path: Path, settled: Settled) -> None:
    result = settled("check", write(tmp_path, {"id": "m", "initial": "a", "states": {"a": {}, "b": {}, "c": {}}}))
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "m.json: 2 warnings"


def test_advice_alone_exits_with_0(tmp_path: Path, settled: Settled) -> None:
    invoke = {"src": "work", "onDone": "b"}
    config = {"id": "m", "initial": "a", "states": {"a": {"invoke": invoke}, "b": {"invoke": invoke}}}
    result = settled("check", write(tmp_path, config))
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("m.json: states.a.invoke: advice: ")
    assert result.out.splitlines()[-1] == "m.json: 2 pieces of advice"


def test_json_has_every_field_of_a_finding(hanging: str, settled: Settled) -> None:
    result = settled("check", hanging, "--json")
    assert result.status == 1
    assert [(each["machine"], each["code"], each["severity"], each["path"]) for each in result.json] == [
        ("m", "hangs", "error", "states.a"),
        ("m", "unreachable", "warning", "states.lost"),
    ]
    assert set(result.json[0]) == {"machine", "code", "severity", "path", "problem", "remedy"}


def test_a_module_is_checked_with_its_logic(tmp_path: Path, settled: Settled) -> None:
    config = {"id": "m", "initial": "a", "states": {"a": {"entry": "say", "on": {"GO": "b"}}, "b": {"tags": "settled"}}}
    logic = "setup(actions={'say': raise_({'type': 'GO'})})"
    text = f"from settled import raise_, setup\none = {logic}.machine({config})\n"
    (tmp_path / "ready.py").write_text(text, encoding="utf-8")
    assert settled("check", "ready:one").status == 0
    assert "unless the action" in settled("check", write(tmp_path, config)).out


class TestInvalidMachine:
    """Exit status 2, and the remedy of each problem."""

    def test_each_problem_is_printed_with_its_remedy(self, tmp_path: Path, settled: Settled) -> None:
        config = {"id": "m", "initial": "a", "states": {"a": {"on": {"E": "b", "F": {"cond": "x"}}}, "b": {}}}
        result = settled("check", write(tmp_path, config))
        assert result.status == 2
        assert result.out.splitlines() == [
            "m.json: states.a.on.F.cond: no such key",
            '  This is XState v4. In v5 it is called "guard".',
        ]
        assert result.err == "settled: m.json is not a valid machine: 1 problem\n"

    def test_json_has_the_same_fields_as_a_finding(self, tmp_path: Path, settled: Settled) -> None:
        config = {"id": "m", "initial": "a", "states": {"a": {"on": {"E": "bb"}}, "b": {}}}
        result = settled("check", write(tmp_path, config), "--json")
        assert result.status == 2
        assert [(each["code"], each["path"]) for each in result.json] == [("invalid", "states.a.on.E.target")]
        assert 'Did you mean "b"?' in result.json[0]["remedy"]

    @pytest.mark.parametrize(
        ("text", "problem"), [("{", "not JSON"), ("[]", "a machine is a JSON object"), ("", "not JSON")]
    )
    def test_text_that_is_not_a_json_object(self, text: str, problem: str, tmp_path: Path, settled: Settled) -> None:
        result = settled("check", write(tmp_path, text))
        assert result.status == 2
        assert problem in result.out

    @pytest.mark.parametrize(
        ("file", "line"),
        [
            ("nothing.json", "cannot read nothing.json: No such file or directory"),
            ("machine.py", "machine.py is Python. Give module:attribute, or a folder that has a machine.py"),
            ("nothing", "'nothing' does not name a machine."),
        ],
    )
    def test_a_file_that_cannot_be_read(self, file: str, line: str, settled: Settled) -> None:
        result = settled("check", file)
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith(f"settled: {line}") and result.err.count("\n") == 1

    def test_a_file_that_is_not_utf_8(self, tmp_path: Path, settled: Settled) -> None:
        (tmp_path / "m.json").write_bytes(b"\xff\xfe")
        assert settled("check", "m.json").err == "settled: cannot read m.json: it is not UTF-8\n"


def test_help_lists_check_and_diagram(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "check" in shown and "diagram" in shown


def test_a_name_that_is_no_unicode_is_printed_as_an_escape(tmp_path: Path) -> None:
    """In a process of its own, whose output is encoded."""
    write(tmp_path, '{"id": "m", "initial": "a", "states": {"a": {}, "\\ud800": {}}}')
    for options in ([], ["--json"]):
        command = [sys.executable, "-m", "settled_cli", "check", str(tmp_path / "m.json"), *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")
        assert r"m.\ud800" in result.stdout
