"""An error is one line that says what to do. The exit status is 2 for a usage error, 1 for a command that failed."""

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
        (("get", "door"), "'door' is not a key: expected MACHINE/INSTANCE, such as signup/ada"),
        (("get", "door/"), "'door/' is not a key"),
        (("list", "--limit", "few"), 'unable to convert "few" into int'),
        (("list", "--limit", "0"), "Must be >= 1"),
        (("list", "--after", "door"), "'door' is not a key"),
        (("list", "--status", "bogus"), '"active", "done", "error", "stopped", "halted", "absent"'),
        (("list", "--backend", "memory://"), "memory:// ends with this command, and no other one sees it"),
        (("start", "door/front", "--backend", "memory://"), "memory:// ends with this command"),
        (("list", "--backend", "floppy://7"), "'floppy://7': unknown scheme. Known schemes: "),
        (("list", "--backend", "sqlite:///a.db?leese=1"), "no option 'leese'; known are"),
        (("list", "--backend", "sqlite:////nowhere/a.db"), "it must be a file, in a folder that exists"),
        (("send", "door/front", "{"), "not JSON: "),
        (("send", "door/front", "[1]"), "expected a JSON object, not [1]"),
        (("send", "door/front", '{"code": 1}'), "an event has a type"),
        (("send", "door/front", '{"type": 1}'), "an event has a type"),
        (("send", "door/front", "UNLOCK", "code"), "'code' is not a field. Write name=text, or name:=json"),
        (("send", "door/front", "UNLOCK", "code:=x"), "not JSON: "),
        (("send", "door/front", "UNLOCK", "code:=NaN"), "NaN is not JSON"),
        (("send", "door/front", '{"type": "UNLOCK", "type": "KICK"}'), 'an object has the key "type" twice'),
        (("send", "door/front", "UNLOCK", 'code:={"a": 1, "a": 1}'), 'an object has the key "a" twice'),
        (("send", "door/front", "UNLOCK", "code=1", "code=2"), "the field code is given twice"),
        (("send", "door/front", '{"type": "UNLOCK", "code": "1"}', "code=2"), "the field code is given twice"),
        (("send", "door/front", "UNLOCK", "--header", "a=1", "--header", "a=2"), "the header a is given twice"),
        (("start", "door/front", '{"a": 1, "a": 2}'), 'an object has the key "a" twice'),
        (("send", "door/front", "xstate.init"), 'an event from outside cannot have the type "xstate.init"'),
        (("send", "door/front", "UNLOCK", "--machine", f"{DOOR}:door"), "UNLOCK: required field missing @ event.code"),
        (("send", "gate/1", "OPEN", "--machine", f"{DOOR}:door"), "gate/1 is not an instance of door"),
        (("start", "door/front", "{"), "not JSON: "),
        (("start", "door/front", '{"a":1e999}'), "not JSON: a: inf"),
        (("send", "door/front", "SHUT", "at:=1e999"), "not JSON: "),
        (("get", "door/front", "redis://me:hidden@localhost"), "redis://***@localhost"),
        (("redis://me:hidden@localhost",), "redis://***@localhost"),
        (("list", "--limit", "99999999999999999999"), "Must be <= 1000000"),
        (("start", "door/front", "[" * 5000 + "]" * 5000), "not JSON: its arrays and objects are nested too deeply"),
        (("start", "door/front", "[" * 65 + "]" * 65), "nested more than 64 levels deep: flatten them"),
        (("send", "door/front", "SHUT", "at:=" + "[" * 490 + "]" * 490), "nested more than 64 levels deep"),
        (("send", "door/front", "SHUT", "--id", "i" * 257), "has 257 bytes; the limit is 256: use a shorter one"),
        (("start", "door/" + "n" * 257), "has 257 bytes; the limit is 256: use a shorter one"),
        (("redrive", "door/front"), "no machine is named. Give module:attribute, or a folder"),
        (
            ("redrive", "door/front", "--machine", "door"),
            "'door' does not name a machine. Give module:attribute, or a folder",
        ),
        (("redrive", "door/front", "--machine", "nothing:x"), "cannot import nothing: ModuleNotFoundError"),
        (("redrive", "door/front", "--machine", f"{DOOR}:gate"), "it has no attribute gate"),
        (("redrive", "door/front", "--machine", f"{DOOR}:logic"), "is not a machine but a Setup"),
        (("redrive", "door/front", "--machine", f"{DOOR}:no_doors"), "is an empty list. Add machines to it"),
        (("redrive", "door/front", "--machine", "."), ". has no machine.py"),
        (("worker", "door"), "'door' does not name a machine"),
        (("worker", f"{DOOR}:twins"), f'two machines have the id "door": one of {DOOR}:twins, and one of {DOOR}:twins'),
        (("worker", f"{DOOR}:door", f"{DOOR}:twin"), f'id "door": one of {DOOR}:door, and one of {DOOR}:twin'),
        (("redrive", "door/front", "--machine", f"{DOOR}:twins"), 'two machines have the id "door"'),
        (("worker", f"{DOOR}:door", "--observer", "door"), "'door' does not name an observer. Give module:function"),
        (("worker", f"{DOOR}:door", "--observer", f"{DOOR}:doors"), "doors is not a function but a list"),
        (("worker", f"{DOOR}:door", "--concurrency", "0"), "Must be >= 1"),
        (("run", "."), ". has no demo.py. Name a folder that has one, such as examples/signup"),
    ],
)
@pytest.mark.usefixtures("backend")
def test_a_usage_error_is_one_line_and_status_2(words: tuple[str, ...], line: str, settled: Settled) -> None:
    result = settled(*words)
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("settled: ") and result.err.count("\n") == 1, result.err
    assert line in result.err


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
    result = settled(*words)
    assert (result.status, result.err) == (
        2,
        "settled: no backend is named. Give --backend sqlite:///FILE, or set SETTLED_BACKEND\n",
    )


class TestInvalidFile:
    def test_a_machine_that_does_not_compile_prints_every_problem_in_one_line(
        self, settled: Settled, tmp_path: Path
    ) -> None:
        (tmp_path / "machine.py").write_text(
            "from settled import setup\n"
            "machine = setup().machine({'initial': 'a', 'states': {'a': {'on': {'GO': 'b', 'RUN': 'c'}}}})\n"
        )
        result = settled("worker", "--backend", "sqlite:///a.db")
        assert result.status == 2
        assert result.err.count("\n") == 1
        assert "states.a.on.GO" in result.err and "states.a.on.RUN" in result.err

    def test_a_module_that_raises_while_it_is_imported(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "machine.py").write_text("1 / 0\n")
        result = settled("worker", ".", "--backend", "sqlite:///a.db")
        assert result.status == 2
        assert "machine.py: ZeroDivisionError: division by zero" in result.err

    def test_a_demo_without_a_function_play(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "demo.py").write_text("")
        result = settled("run", str(tmp_path))
        assert result.status == 2
        assert "has no function play(backend)" in result.err

    def test_a_file_that_is_not_a_database(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "a.db").write_text("not a database, but long enough to be taken for the header of one" * 20)
        result = settled("list", "--backend", "sqlite:///a.db")
        assert result.status == 2
        assert "it is no SQLite database: use another file" in result.err


class TestFailedCommand:
    def test_get_of_an_instance_that_does_not_exist(self, settled: Settled, backend: Backend) -> None:
        result = settled("get", "door/front")
        assert (result.status, result.out) == (1, "")
        assert result.err.startswith("settled: door/front: there is no such instance. ") and result.err.count("\n") == 1

    def test_redrive_of_an_instance_that_does_not_exist(self, settled: Settled, backend: Backend) -> None:
        result = settled("redrive", "door/front", "--machine", f"{DOOR}:door")
        assert (result.status, result.err) == (1, "settled: door/front: there is no such instance\n")

    def test_a_wait_that_times_out(self, settled: Settled, backend: Backend) -> None:
        result = settled("start", "door/front", "--wait", "--timeout", "0.01")
        assert result.status == 1
        assert "waited 0.01 s for door/front to take start. Is a worker running?" in result.err

    def test_an_event_that_is_rejected(self, settled: Settled, backend: Backend, work: Callable[[], None]) -> None:
        settled("start", "door/front")
        settled("send", "door/front", "UNLOCK", "code=1234", "--id", "a")
        work()
        result = settled("send", "door/front", "UNLOCK", "code=1234", "--id", "a", "--wait")
        assert result.status == 1
        reason = 'UNLOCK (the guard "isRight" answered false) left the machine in "door.alarmed"'
        assert result.err == f"settled: door/front: UNLOCK was rejected: {reason}; the instance is in alarmed\n"

    def test_a_demo_that_raises(self, settled: Settled, tmp_path: Path) -> None:
        (tmp_path / "demo.py").write_text("def play(backend):\n    raise RuntimeError('no applause')\n")
        result = settled("run", str(tmp_path))
        assert result.status == 1
        assert result.err == f"settled: {tmp_path}: RuntimeError: no applause\n"

    def test_ctrl_c(self, settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
        (Path.cwd() / "demo.py").write_text("def play(backend):\n    raise KeyboardInterrupt\n")
        result = settled("run", ".")
        assert (result.status, result.err) == (130, "")


def test_a_bug_in_settled_shows_its_traceback(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(url: str, *, codec: object) -> None:
        raise ZeroDivisionError(url)

    monkeypatch.setattr("settled_cli.backend.connect", connect)
    with pytest.raises(ZeroDivisionError):
        settled("list", "--backend", "sqlite:///a.db")


@pytest.mark.usefixtures("backend")
def test_a_closed_pipe_is_no_error_message(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        result = settled("list", "--json")
    assert (result.status, result.err) == (1, "")


def test_a_backend_that_refuses_these_credentials_is_one_line_and_status_2(
    settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    for emulator in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        monkeypatch.delenv(emulator, raising=False)  # an emulator needs no credentials
    result = settled("list", "--backend", "gcp://my-project/signup?location=europe-west1")
    assert result.status == 2
    assert "no valid credentials" in result.err and result.err.count("\n") == 1, result.err
