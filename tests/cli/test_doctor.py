"""``settled doctor`` in a process of its own, with an adapter that has a doctor and one that has none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.emulators.redis_servers import ALWAYS, redis_binary, running


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "settled_cli", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_problem_is_printed_with_its_remedy(tmp_path: Path) -> None:
    with running(redis_binary(), tmp_path, *ALWAYS) as server:
        healthy = doctor(server.url())
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "no problems found\n", "")
        server.set("appendfsync", "everysec")
        lossy = doctor(server.url())
        assert lossy.returncode == 1
        assert lossy.stdout == (
            f"127.0.0.1:{server.port}: appendfsync everysec: writes acknowledged in the last second are lost if the "
            "machine fails. Set appendfsync always.\n"
        )
        assert lossy.stderr == "settled: 1 problem found\n"
        (problem,) = json.loads(doctor(server.url(), "--json").stdout)
        assert problem["remedy"] == "Set appendfsync always."


def test_a_backend_whose_adapter_has_no_doctor_is_opened() -> None:
    opened = doctor("memory://")
    assert (opened.returncode, opened.stdout) == (0, "the backend answers; its adapter has no further checks\n")
    assert doctor("memory://", "--json").stdout == "null\n"


def test_a_backend_that_cannot_be_used_is_one_line() -> None:
    wrong = doctor("redis://localhost?leese=5")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("settled: redis://localhost?leese=***: no option 'leese'")
    gone = doctor("redis://127.0.0.1:1")
    assert gone.returncode == 1
    assert len(gone.stderr.splitlines()) == 1
    assert doctor("nothing://").returncode == 2
