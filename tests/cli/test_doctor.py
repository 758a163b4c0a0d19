"""``settled doctor`` over its own process, and over an adapter that knows nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.emulators.redis_servers import ALWAYS, redis_binary, running


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "settled_cli", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_endangers_a_backend_and_what_to_do(tmp_path: Path) -> None:
    with running(redis_binary(), tmp_path, *ALWAYS) as server:
        well = doctor(server.url())
        assert (well.returncode, well.stdout, well.stderr) == (0, "nothing endangers it\n", "")
        server.set("appendfsync", "everysec")
        ill = doctor(server.url())
        assert ill.returncode == 1
        assert ill.stdout == (
            f"127.0.0.1:{server.port}: appendfsync everysec: the last second of what was answered is lost if the "
            "machine fails. Set appendfsync always.\n"
        )
        assert ill.stderr == "settled: 1 thing endangers this backend\n"
        (danger,) = json.loads(doctor(server.url(), "--json").stdout)
        assert danger["remedy"] == "Set appendfsync always."


def test_a_backend_that_nobody_can_tell_of_is_opened() -> None:
    told = doctor("memory://")
    assert (told.returncode, told.stdout) == (0, "it answers; its adapter knows nothing else to look at\n")
    assert doctor("memory://", "--json").stdout == "null\n"


def test_one_that_cannot_be_used_is_a_line() -> None:
    wrong = doctor("redis://localhost?leese=5")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("settled: redis://localhost?leese=5: no option 'leese'")
    gone = doctor("redis://127.0.0.1:1")
    assert gone.returncode == 1
    assert len(gone.stderr.splitlines()) == 1
    assert doctor("nothing://").returncode == 2
