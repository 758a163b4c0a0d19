"""Starts Redis servers for the harnesses, on free local ports; they end with the process.

``SETTLED_REDIS_SERVER`` names the program to use instead of ``redis-server`` or ``valkey-server`` on the path.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

MAX_WAIT = 60.0
"""The maximum number of seconds that a server may take to become ready."""


class RedisServer:
    """A server with a data folder of its own, which survives a kill and restart."""

    def __init__(self, *options: str, in_cluster: bool = False) -> None:
        program = (
            os.environ.get("SETTLED_REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
        )
        if program is None:
            raise FileNotFoundError("there is no redis-server: install one, or name one as SETTLED_REDIS_SERVER")
        self.port, self.bus = _free_port(), _free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="settled-conformance-"))
        address = ("--port", str(self.port), "--bind", "127.0.0.1")
        log = ("--appendonly", "yes", "--appendfsync", "no")
        base_options = (*address, "--dir", str(self._folder), "--save", "", *log)
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus)) if in_cluster else ()
        self._command = [program, *base_options, *options, *cluster]
        self._start()
        atexit.register(self._end)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def kill_and_start(self) -> None:
        """Kill the server with SIGKILL, and start it again on the same data."""
        self._kill()
        self._start()

    def ask(self, *parts: object) -> str:
        """Send a command, and return its answer: the first line, or all of a bulk string."""
        with socket.create_connection(("127.0.0.1", self.port), MAX_WAIT) as wire, wire.makefile("rb") as file:
            wire.sendall(f"{' '.join(map(str, parts))}\r\n".encode())
            line = file.readline().decode().strip()
            return file.read(int(line[1:])).decode() if line.startswith("$") else line

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _end(self) -> None:
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_cluster(count: int) -> list[RedisServer]:
    """Start a cluster of `count` servers that share the slots."""
    servers = [RedisServer(in_cluster=True) for _ in range(count)]
    for number, server in enumerate(servers):
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        server.ask("CLUSTER", "ADDSLOTSRANGE", 16384 * number // count, 16384 * (number + 1) // count - 1)
        server.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port, servers[0].bus)
    for server in servers:
        _wait_until(partial(_is_whole, server, count))
    return servers


def _is_whole(server: RedisServer, count: int) -> bool:
    about = server.ask("CLUSTER", "INFO")
    return "cluster_state:ok" in about and f"cluster_size:{count}" in about


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + MAX_WAIT
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"a Redis server was not ready after {MAX_WAIT:g} seconds")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
