"""A server of the tests ends with the run that started it, even with one that is killed and closes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.emulators.redis_servers import wait_until

ROOT = Path(__file__).parents[2]

RUNS = {
    "an emulator": """
        import os, sys, time
        from tests.emulators.running import free_port, running
        port = free_port()
        with running([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)], port, os.environ):
            print(port, flush=True)
            time.sleep(60)
    """,
    "a redis": """
        import sys, time
        from pathlib import Path
        from tests.emulators.redis_servers import Process, redis_binary
        server = Process(redis_binary(), Path(sys.argv[1]))
        server.start()
        print(server.port, flush=True)
        time.sleep(60)
    """,
}
"""Programs that start a server, print its port, and do not end."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("run", RUNS)
def test_a_server_ends_with_the_process_that_has_started_it(run: str, number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(RUNS[run]), str(tmp_path)]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert listens(port)
        process.send_signal(number)
    wait_until(lambda: not listens(port), "the server to end")
