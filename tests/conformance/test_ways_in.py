"""The suite's entry points (command, plugin, sessions), their reports, and their error messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from settled.durable import Capability
from settled_conformance import GUARANTEES, Harness, HarnessError, Session, VerdictStatus, load_harness
from settled_conformance.checks import Check
from tests.conformance.faulty.deduplication_faults import ConsumedIdsDropped
from tests.conformance.faulty.harness import PlainHarness
from tests.conformance.faulty.queue_faults import Lifo
from tests.conformance.faulty.reference import Plain

ROOT = Path(__file__).parents[2]


class Nameless:
    """An object that is neither a harness nor a backend."""


class Hollow(PlainHarness):
    """A harness that opens something that is not a backend."""

    def open(self) -> Plain:
        return Nameless()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def lifo() -> Harness:
    return PlainHarness(Lifo)


def forgetful() -> Harness:
    return PlainHarness(ConsumedIdsDropped)


def hollow() -> Harness:
    return Hollow()


def nothing() -> None:
    """A factory that returns nothing."""


def explodes() -> Harness:
    raise ConnectionError("no such server\nand more")


def nameless() -> Nameless:
    return Nameless()


HERE = "tests.conformance.test_ways_in"
EXPECTED = "expected MODULE:FACTORY, a function without arguments that returns a settled_conformance.Harness"


class TestAFactory:
    @pytest.mark.parametrize(
        ("adapter", "message"),
        [
            ("settled_local", f"'settled_local': {EXPECTED}"),
            (
                "no_such_module:make",
                f"cannot import no_such_module (ModuleNotFoundError: No module named 'no_such_module'): {EXPECTED}",
            ),
            (f"{HERE}:no_such_function", f"has no function no_such_function: {EXPECTED}"),
            (f"{HERE}:EXPECTED", f"has no function EXPECTED: {EXPECTED}"),
            (f"{HERE}:explodes", f"raised ConnectionError: no such server: {EXPECTED}"),
            (f"{HERE}:nothing", "returned None, which has no kind, capabilities, open"),
            (f"{HERE}:nameless", "returned a Nameless, which has no kind, capabilities, open"),
            (f"{HERE}:hollow", "open() returned a Nameless: expected a settled.Backend; it has no store, queue"),
        ],
    )
    def test_without_a_usable_harness_fails_with_a_one_line_message(self, adapter: str, message: str) -> None:
        with pytest.raises(HarnessError) as raised:
            load_harness(adapter)
        assert message in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1


class TestACapability:
    def test_declared_but_missing_fails_c1(self) -> None:
        class Modest(Plain):
            @property
            def capabilities(self) -> frozenset[Capability]:
                return frozenset(Capability) - {Capability.SCAN}

        verdict = Session(PlainHarness(Modest), budget=0.0).verdict("C1")
        assert verdict.status is VerdictStatus.FAIL
        assert "whether the backend itself declares scan: False, expected True" in verdict.detail

    @pytest.mark.parametrize("capability", [Capability.SCAN, Capability.JOINT_FINISH])
    def test_present_but_not_declared_fails_c1(self, capability: Capability) -> None:
        less = frozenset(Capability) - {capability, Capability.UNORDERED_SCAN}

        class Coy(Plain):
            @property
            def capabilities(self) -> frozenset[Capability]:
                return less

        verdict = Session(PlainHarness(Coy, less), budget=0.0).verdict("C1")
        assert verdict.status is VerdictStatus.FAIL
        assert f"{capability} is not declared, but the call did not raise UnsupportedError" in verdict.detail


class TestAKnownFailure:
    def test_is_expected(self) -> None:
        session = Session(PlainHarness(Lifo, known_failures={"F1": "our queue is a stack"}), budget=0.0)
        verdict = session.verdict("F1")
        assert (verdict.status, verdict.detail, verdict.is_fine) == (VerdictStatus.XFAIL, "our queue is a stack", True)

    def test_that_does_not_fail_is_an_error(self) -> None:
        verdict = Session(PlainHarness(known_failures={"F4": "we thought so"}), budget=0.0).verdict("F4")
        assert verdict.status is VerdictStatus.FAIL
        assert "remove it from the list" in verdict.detail


def test_a_guarantee_whose_situation_never_occurred_is_vacuous(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_checks(_id: str) -> list[Check]:
        return []

    def no_schedules(_session: Session) -> None:
        """Run no schedules."""

    monkeypatch.setattr("settled_conformance.session.checks_of", no_checks)
    monkeypatch.setattr(Session, "explore", no_schedules)
    verdict = Session(PlainHarness()).verdict("R4")
    assert (verdict.status, verdict.detail, verdict.is_fine) == (
        VerdictStatus.VACUOUS,
        "never happened: stale commit",
        False,
    )


@pytest.fixture
def command(tmp_path: Path) -> Iterator[list[str]]:
    yield [sys.executable, "-m", "settled_cli", "conformance"]


def run(command: list[str], *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([*command, *arguments], cwd=cwd, env=here, capture_output=True, text=True, check=False)


class TestTheCommand:
    def test_prints_the_table_and_writes_the_reports(self, command: list[str], tmp_path: Path) -> None:
        paths = {name: tmp_path / name for name in ("json", "markdown", "junit")}
        files = [word for name, file in paths.items() for word in (f"--{name}", str(file))]
        done = run(command, "settled_local:memory", "--schedules", "300", *files)
        assert done.returncode == 0, done.stdout + done.stderr
        asked = len(GUARANTEES) - 1  # all but what is to survive its process
        assert f"{asked}/{asked} memory: {asked} PASS, 1 UNSUPPORTED" in done.stdout
        report = json.loads(paths["json"].read_text(encoding="utf-8"))
        assert report["badge"] == f"{asked}/{asked} memory"
        assert [each["id"] for each in report["guarantees"]] == list(GUARANTEES)
        assert "| F1 | messages of one sender stay in order | PASS |" in paths["markdown"].read_text(encoding="utf-8")
        suite = ElementTree.fromstring(paths["junit"].read_text(encoding="utf-8"))
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(GUARANTEES)), "0", "1")

    def test_prints_a_replay_token_for_a_broken_guarantee(self, command: list[str]) -> None:
        done = run(command, f"{HERE}:forgetful", "--schedules", "400")
        assert done.returncode == 1
        token = next(line.split("replay: ")[1] for line in done.stdout.splitlines() if "violated   replay: " in line)
        again = run(command, f"{HERE}:forgetful", "--replay", token)
        assert again.returncode == 1
        assert "  << " in again.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["no_such_module:make"], "settled: no_such_module:make: cannot import no_such_module"),
            (["settled_local:memory", "--replay", "nonsense"], "settled: 'nonsense' is not a replay token"),
            (["settled_local:memory", "--replay", "nowhere:1.2"], "settled: no scenario 'nowhere': there are ports"),
        ],
    )
    def test_fails_with_a_one_line_message_on_bad_arguments(
        self, command: list[str], arguments: list[str], message: str
    ) -> None:
        done = run(command, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(message)
        assert len(done.stderr.splitlines()) == 1


class TestThePlugin:
    @pytest.fixture(autouse=True)
    def in_a_directory_outside_the_project(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "settled_conformance", *arguments]
        return run([sys.executable], *words, cwd=self.directory)

    def test_runs_each_guarantee_as_a_test(self) -> None:
        done = self.pytest("--adapter", "settled_local:memory", "--schedules", "100", "-k", "F3 or R6 or D7 or nothing")
        assert "2 passed, 1 skipped" in done.stdout, done.stdout

    def test_fails_where_a_guarantee_is_broken(self) -> None:
        done = self.pytest("--adapter", f"{HERE}:lifo", "--schedules", "10", "-k", "F1 or D6")
        assert done.returncode == 1
        assert "F1 messages of one sender stay in order: FAIL" in done.stdout

    def test_fails_with_a_one_line_message_without_a_harness(self) -> None:
        done = self.pytest("--adapter", f"{HERE}:nothing")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert f"ERROR: {HERE}:nothing: returned None" in done.stdout + done.stderr

    def test_fails_if_no_test_is_collected(self) -> None:
        done = self.pytest("--adapter", "settled_local:memory", "-k", "nothing_of_this_name")
        assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED

    def test_fails_without_an_adapter(self) -> None:
        done = self.pytest("-k", "F1")
        assert done.returncode == 1
        assert "no adapter: give --adapter MODULE:FACTORY" in done.stdout
