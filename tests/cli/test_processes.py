"""Behaviour that only a process of its own can show."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from settled.durable import Backend
from settled_cli.app import run
from settled_runtime import Client
from tests.cli.conftest import Settled
from tests.cli.door_machine import door
from tests.examples.processes import PATIENCE, worker
from tests.support.builders import until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_runs_until_a_signal_stops_it(number: signal.Signals, backend: Backend, tmp_path: Path) -> None:
    client = Client(door, backend)
    client.start("front")
    url = f"sqlite:///{tmp_path}/doors.db"
    with worker("tests.cli.door_machine:doors", "--verbose", SETTLED_BACKEND=url) as process:
        assert client.ask("front", {"type": "UNLOCK", "code": "0042"}).value == "open"
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    first, *steps = log.splitlines()
    assert first == f"settled: serving door on {url}"
    assert any("DEBUG door/front: committed version 1" in line for line in steps)


def test_a_worker_skips_events_that_keep_failing_if_it_is_told_to(
    backend: Backend, tmp_path: Path, settled: Settled
) -> None:
    url = f"sqlite:///{tmp_path}/doors.db"
    with worker("tests.cli.door_machine:door", "--failed-events", "skip", SETTLED_BACKEND=url):
        settled("start", "door/front", "--wait")
        kicked = settled("send", "door/front", "KICK", "--id", "kick", "--wait", "--timeout", "60")
        assert kicked.status == 1
        assert "KICK was dead-lettered" in kicked.err and "the lock is broken" in kicked.err
        assert settled("send", "door/front", "UNLOCK", "code=0042", "--wait").status == 0
    (row,) = settled("dead-letters", "door/front", "--json").json
    assert row["id"] == "kick"
    assert settled("get", "door/front", "--json").json["halted"] is None


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ((), (False, False)),
        (("--verbose",), (True, False)),
        (("--verbose", "--redact", "tests.cli.door_machine:hide"), (False, True)),
    ],
)
def test_a_worker_logs_payloads_only_when_asked_to_and_redacted(
    options: tuple[str, ...], shows: tuple[bool, bool], backend: Backend, tmp_path: Path, settled: Settled
) -> None:
    client = Client(door, backend)
    client.start("front\nforged")
    client.send("front\nforged", {"type": "KICK"})
    with worker("tests.cli.door_machine:doors", *options, SETTLED_BACKEND=f"sqlite:///{tmp_path}/doors.db") as process:
        until(lambda: "the lock is broken" in settled("get", "door/front\nforged", "--json").out)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
    assert r"WARNING door/front\nforged: released for " in log and "\nforged" not in log
    assert ("the lock is broken" in log, "(hidden)" in log) == shows


FOLDER_MACHINE = """
import sys

import helper
from settled import setup

def write(a):
    import inner.names  # when the action runs: each folder's import is its own then, too
    from helper import NAME
    print(helper.NAME, NAME, inner.names.NAME, a.event, file=sys.stderr, flush=True)

machine = setup(events={"GO": helper.Go}, actions={"write": write}).machine({
    "id": helper.NAME,
    "initial": "ready",
    "states": {"ready": {"tags": ["settled"], "on": {"GO": {"actions": "write"}}}},
})
"""


def test_each_folder_of_a_worker_imports_its_own_modules_and_observers_see_all(
    backend: Backend, tmp_path: Path, settled: Settled
) -> None:
    folders = [tmp_path / "one", tmp_path / "two", tmp_path / "more" / "one"]
    for number, folder in enumerate(folders):
        (folder / "inner").mkdir(parents=True)
        (folder / "machine.py").write_text(FOLDER_MACHINE)
        (folder / "inner" / "names.py").write_text("from helper import NAME\n")
        (folder / "helper.py").write_text(
            "from __future__ import annotations\nfrom attrs import frozen\n"
            f"NAME = 'm{number}'\nCode = str\n@frozen\nclass Go:\n    code: Code\n"
        )
        settled("start", f"m{number}/a")
        settled("send", f"m{number}/a", "GO", "code=x")
    url = f"sqlite:///{tmp_path}/doors.db"
    observer = ("--observer", "tests.cli.door_machine:see", "--observer", "tests.cli.door_machine:see_too")
    with worker(*map(str, folders), *observer, SETTLED_BACKEND=url) as process:
        for number in range(3):
            assert settled("get", f"m{number}/a", "--until", "ready").status == 0
            assert settled("send", f"m{number}/a", "GO", "code=y", "--wait").status == 0
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    lines = set(errors.splitlines())
    assert {f"m{number} m{number} m{number} Go(code='x')" for number in range(3)} <= lines
    assert {"saw TurnEnded", "saw TurnEnded, too"} <= lines


def test_the_command_starts_quickly() -> None:
    """`--version` imports neither the packages of settled nor a database driver."""
    script = "import sys; from settled_cli.app import run; assert run(['--version']) == 0; print(*sys.modules)"
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True)
    first, modules = done.stdout.splitlines()
    assert first == version("settled")
    assert {"settled", "settled_runtime", "sqlite3"}.isdisjoint(modules.split())


def test_python_m_runs_the_command() -> None:
    done = subprocess.run((sys.executable, "-m", "settled_cli", "bogus"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('settled: Unknown command "bogus".')


def test_without_the_extra_one_line_says_what_to_install() -> None:
    script = "import sys; sys.modules['cyclopts'] = None; from settled_cli import main; main()"
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "settled: cyclopts is not installed. Try: pip install 'settled[cli]'\n"


class TestRun:
    @pytest.fixture(autouse=True)
    def demo(self, tmp_path: Path) -> None:
        (tmp_path / "demo.py").write_text("def play(backend):\n    print('played on', backend)\n")

    def test_uses_a_file_that_is_deleted_afterwards(self, settled: Settled) -> None:
        result = settled("run", ".")
        url = result.out.removeprefix("played on ").strip()
        assert result.status == 0
        assert url.startswith("sqlite:////") and not Path(url.removeprefix("sqlite:///")).parent.exists()

    def test_uses_the_backend_that_is_given(self, settled: Settled) -> None:
        assert settled("run", ".", "--backend", "sqlite:///mine.db").out == "played on sqlite:///mine.db\n"

    def test_keeps_the_file_with_keep(self, settled: Settled) -> None:
        played, kept = settled("run", ".", "--keep").out.splitlines()
        folder = Path(kept.removeprefix("Kept: sqlite:///")).parent
        assert kept.removeprefix("Kept: ") == played.removeprefix("played on ")
        assert folder.is_dir()
        folder.rmdir()


@pytest.mark.parametrize("command", ["run", "start", "send", "get", "list", "worker", "dead-letters", "redrive"])
def test_each_command_has_help(command: str, settled: Settled) -> None:
    result = settled(command, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: settled {command}")


def test_help_lists_the_commands(settled: Settled) -> None:
    assert "dead-letters" in settled().out
    assert run.__module__ == "settled_cli.app"
