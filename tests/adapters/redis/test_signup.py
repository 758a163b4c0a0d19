"""The sign-up example runs on a cluster, given only its URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.emulators.redis_servers import Process

ROOT = Path(__file__).parents[3]


def test_the_sign_up(cluster: Process) -> None:
    command = [
        sys.executable,
        "-m",
        "settled_cli",
        "run",
        "examples/signup",
        "--backend",
        cluster.url("?prefix=signup:"),
    ]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stderr
    assert "Ada is active" in played.stdout
