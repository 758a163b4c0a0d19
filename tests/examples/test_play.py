"""``settled run examples/signup`` in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from settled import Key
from settled_runtime import connect
from tests.examples.processes import ROOT


def play(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "settled_cli", "run", "examples/signup", *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_sign_up_ends_in_active(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/signup.db"
    done = play("--backend", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ada is active" in done.stdout
    processes = re.findall(r"\(process (\d+)\)", done.stdout)
    assert len(processes) == len(set(processes)) == 6
    backend = connect(url)
    stored = backend.store.load(Key("signup", "ada"))
    assert stored is not None and stored.index.status == "done"
    assert not backend.queue.receive(1)
    backend.close()


def test_a_backend_that_processes_cannot_share_is_an_error() -> None:
    done = play("--backend", "memory://")
    assert done.returncode == 1
    assert done.stderr == (
        "settled: examples/signup: RuntimeError: memory:// cannot be shared by processes: name another backend\n"
    )
