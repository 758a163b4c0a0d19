"""What was typed wrongly gets one line that says what to do, and exit status 2; what went wrong, 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from settled.durable import Backend
from tests.cli.conftest import Settled

DOOR = "tests.cli.door_machine"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("open",), 'Unknown command "open". Available commands: run, start,'),
        (("get",), "requires an argument"),
        (("get", "door/front", "--loud"), "Unknown option"),
        (("get", "door"), "'door' is no key: expected MACHINE/INSTANCE, such as signup/ada"),
        (("get", "door/"), "'door/' is no key"),
        (("list", "--limit", "few"), 'unable to convert "few" into int'),
        (("list", "--limit", "0"), "Must be >= 1"),
        (("list", "--after", "door"), "'door' is no key"),
        (("list", "--backend", "tape://7"), "'tape://7': no backend of this name. Known: "),
        (("list", "--backend", "sqlite:///a.db?leese=1"), "no option 'leese'; known are"),
        (("list", "--backend", "sqlite:////nowhere/a.db"), "it must be a file, in a folder that exists"),
        (("send", "door/front", "{"), "not JSON: "),
        (("send", "door/front", "[1]"), "expected a JSON object, not [1]"),
        (("send", "door/front", '{"code": 1}'), "an event has a type"),
        (("send", "door/front", '{"type": 1}'), "an event has a type"),
        (("send", "door/front", "UNLOCK", "code"), "'code' is no field. Write name=text, or name:=json"),
        (("send", "door/front", "UNLOCK", "code:=x"), "not JSON: "),
        (("send", "door/front", "UNLOCK", "code:=NaN"), "NaN is not JSON"),
        (("send", "door/front", "xstate.init"), 'an event from outside cannot have the type "xstate.init"'),
        (("send", "door/front", "UNLOCK", "--machine", f"{DOOR}:door"), "UNLOCK: required field missing @ event.code"),
        (("send", "house/1", "OPEN", "--machine", f"{DOOR}:door"), "house/1 is no instance of door"),
        (("start", "door/front", "{"), "not JSON: "),
        (("redrive", "door/front"), "no machine is named. Give module:attribute, or a folder"),
        (("redrive", "door/front", "--machine", "door"), "'door' names no machine. Give module:attribute, or a folder"),
        (("redrive", "door/front", "--machine", "nothing:x"), "cannot import nothing: ModuleNotFoundError"),
        (("redrive", "door/front", "--machine", f"{DOOR}:gate"), "there is no gate in it"),
        (("redrive", "door/front", "--machine", f"{DOOR}:logic"), "is no machine but a Setup"),
        (("redrive", "door/front", "--machine", f"{DOOR}:no_doors"), "is empty. Put the machines into it"),
        (("redrive", "door/front", "--machine", "."), ". has no machine.py"),
        (("worker", "door"), "'door' names no machine"),
        (("worker", f"{DOOR}:door", "--concurrency", "0"), "Must be >= 1"),
        (("run", "."), ". has no demo.py. Name a folder that can be played, such as examples/signup"),
    ],
)
@pytest.mark.usefixtures("place")
def test_misuse_is_one_line_and_status_2(words: tuple[str, ...], line: str, settled: Settled) -> None:
    said = settled(*words)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("settled: ") and said.err.count("\n") == 1, said.err
    assert line in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("get", "door/front"),
        ("start", "door/front"),
        ("send", "door/front", "SHUT"),
        ("dead-letters",),
        ("worker", f"{DOOR}:door"),
        ("redrive", "door/front", "--machine", f"{DOOR}:door"),
    ],
)
def test_a_command_without_a_backend_says_how_to_name_one(words: tuple[str, ...], settled: Settled) -> None:
    said = settled(*words)
    assert (said.status, said.err) == (
        2,
        "settled: no backend is named. Give --backend sqlite:///FILE, or set SETTLED_BACKEND\n",
    )


class TestAFileThatIsAtFault:
    def test_a_machine_that_does_not_compile_tells_every_fault_in_one_line(
        self, settled: Settled, tmp_path: Path
    ) -> None:
        (tmp_path / "machine.py").write_text(
            "from settled import setup\n"
            "machine = setup().machine({'initial': 'a', 'states': {'a': {'on': {'GO': 'b', 'RUN': 'c'}}}})\n"
        )
        said = settled("worker", "--backend", "memory://")
        assert said.status == 2
        assert said.err.count("\n") == 1
        assert "states.a.on.GO" in said.err and "states.a.on.RUN" in said.err

    def test_a_module_that_raises_says_what(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "machine.py").write_text("1 / 0\n")
        said = settled("worker", ".", "--backend", "memory://")
        assert said.status == 2
        assert "machine.py: ZeroDivisionError: division by zero" in said.err

    def test_a_demo_without_a_play(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "demo.py").write_text("")
        said = settled("run", str(tmp_path))
        assert said.status == 2
        assert "has no function play(backend)" in said.err

    def test_a_file_that_is_no_database(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "a.db").write_text("not a database, but long enough to be taken for the header of one" * 20)
        said = settled("list", "--backend", "sqlite:///a.db")
        assert said.status == 2
        assert "it is no SQLite database: name another file" in said.err


class TestWhatWentWrong:
    def test_an_instance_that_is_not_there(self, settled: Settled, place: Backend) -> None:
        said = settled("get", "door/front")
        assert (said.status, said.out) == (1, "")
        assert said.err.startswith("settled: door/front: there is no such instance. ") and said.err.count("\n") == 1

    def test_a_redrive_of_what_is_not_there(self, settled: Settled, place: Backend) -> None:
        said = settled("redrive", "door/front", "--machine", f"{DOOR}:door")
        assert (said.status, said.err) == (1, "settled: door/front: there is no such instance\n")

    def test_a_wait_that_was_in_vain(self, settled: Settled, place: Backend) -> None:
        said = settled("start", "door/front", "--wait", "--timeout", "0.01")
        assert said.status == 1
        assert "waited 0.01 s for door/front to take start. Does a worker run?" in said.err

    def test_an_event_that_was_rejected(self, settled: Settled, place: Backend, work: Callable[[], None]) -> None:
        settled("start", "door/front")
        settled("send", "door/front", "UNLOCK", "code=1234", "--id", "a")
        work()
        said = settled("send", "door/front", "UNLOCK", "code=1234", "--id", "a", "--wait")
        assert said.status == 1
        assert said.err == "settled: door/front: UNLOCK was rejected; the instance is in alarmed\n"

    def test_a_demo_that_ended_badly(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "demo.py").write_text("def play(backend):\n    raise RuntimeError('no applause')\n")
        said = settled("run", str(tmp_path))
        assert said.status == 1
        assert said.err == f"settled: {tmp_path}: RuntimeError: no applause\n"

    def test_ctrl_c(self, settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
        (Path.cwd() / "demo.py").write_text("def play(backend):\n    raise KeyboardInterrupt\n")
        said = settled("run", ".")
        assert (said.status, said.err) == (130, "")


def test_a_bug_of_settled_is_not_hidden_in_one_line(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(url: str) -> None:
        raise ZeroDivisionError(url)

    monkeypatch.setattr("settled_cli.backend.connect", connect)
    with pytest.raises(ZeroDivisionError):
        settled("list", "--backend", "memory://")


@pytest.mark.usefixtures("place")
def test_whoever_reads_the_output_may_stop(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        said = settled("list", "--json")
    assert (said.status, said.err) == (1, "")
