"""The harnesses of Redis: one server, a cluster of three, and a server that is killed repeatedly.

``SETTLED_CONFORMANCE_REDIS`` names the URL of a server to use; only keys under the suite's own prefix are touched.
Without it, a server is started. Time is virtual, as for the local backends: production differs only in where the Lua
script gets the time from, an argument here, the server's clock there. Other processes go by the server's clock.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from attrs import frozen

from settled.durable import Backend, Capability
from settled_conformance.harness import BackendKind, Harness, HarnessFeature, Opener, Point
from settled_conformance.harnesses.local import EPOCH, Clock
from settled_conformance.harnesses.redis_servers import RedisServer, start_cluster
from settled_conformance.harnesses.required import REQUIRED
from settled_redis.backend import RedisBackend
from settled_redis.connect import connect, largest_request
from settled_redis.connection import RedisCommand, ServerConnection
from settled_redis.keyspace import prepare
from settled_redis.topology import Topology
from settled_redis.url import Options, parse

RESTART_EVERY = 40
"""The number of moves of the clock after which `KilledHarness` kills its server."""


class RedisHarness(Harness):
    """A server at `url`, with a new key prefix for each reset."""

    kind = BackendKind.REAL
    capabilities = REQUIRED
    features = frozenset({HarnessFeature.DATA_LOSS})
    tick = 0.001
    partitions = 1

    def __init__(self, url: str) -> None:
        self._url = url
        self._clock = Clock()
        self._point: Point | None = None
        self._resets = 0
        self._admin = connect(parse(url), Options())
        self._limit = largest_request(self._admin)
        self._free: list[Topology] = []

    @property
    def _options(self) -> dict[str, Any]:
        return {"prefix": f"settled-conformance-{os.getpid()}-{self._resets}:", "partitions": self.partitions}

    def open(self) -> Backend:
        # Each handle has its own connections; those of a closed handle are reused, because connecting is slow.
        options = Options(**self._options)
        servers = _InstrumentedTopology(self._free.pop() if self._free else connect(parse(self._url), options), self)
        space = prepare(servers, options.prefix, options.partitions)
        return RedisBackend(servers, space, options, self._limit, self._clock)

    def lose_data(self) -> None:
        for server in self._admin.all_servers():
            _erase(server, f"settled-conformance-{os.getpid()}-*")

    def reset(self) -> None:
        self.lose_data()
        self._resets += 1
        self._clock.time = EPOCH

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    def opener(self) -> Opener | None:
        return partial(RedisBackend.open, self._url, lease=timedelta(seconds=1), **self._options)

    def before_round_trip(self, name: str) -> None:
        """Call the instrument before a round trip."""
        if self._point is not None:
            self._point(name)

    def reuse(self, servers: Topology) -> None:
        """Keep the connections of a closed handle for the next one. Closing twice is no error."""
        if all(each is not servers for each in self._free):
            self._free.append(servers)


class ClusterHarness(RedisHarness):
    """Three servers and several partitions: a write that touches two of them is not atomic."""

    capabilities = REQUIRED - {Capability.ATOMIC_FINISH}
    partitions = 4


class KilledHarness(RedisHarness):
    """A server that syncs to disk before each answer, and is killed while time passes."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._moves = 0
        super().__init__(server.url)

    def advance(self, seconds: float) -> None:
        self._moves += 1
        if self._moves % RESTART_EVERY == 0:
            self._server.kill_and_start()
        super().advance(seconds)


@frozen
class _InstrumentedTopology:
    """The servers of one handle of `harness`, whose round trips are announced to it."""

    servers: Topology
    harness: RedisHarness

    @property
    def is_cluster(self) -> bool:
        return self.servers.is_cluster

    def ask(self, slot: int, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        self.harness.before_round_trip(commands[0][0].decode())
        return self.servers.ask(slot, commands, changes)

    def wait(self, slot: int, command: RedisCommand) -> Any:
        self.harness.before_round_trip(command[0].decode())
        return self.servers.wait(slot, command)

    def owner(self, slot: int) -> ServerConnection:
        return self.servers.owner(slot)

    def all_servers(self) -> Sequence[ServerConnection]:
        return self.servers.all_servers()

    def close(self) -> None:
        self.harness.reuse(self.servers)


def _erase(server: ServerConnection, pattern: str) -> None:
    cursor, started = b"0", False
    while cursor != b"0" or not started:
        (answer,) = server.ask([[b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", b"10000"]], changes=False)
        cursor, names = answer
        started = True
        if names:
            server.ask([[b"UNLINK", name] for name in names], changes=True)


def backend() -> RedisHarness:
    """Return the harness of ``settled_redis:backend``: one server."""
    url = os.environ.get("SETTLED_CONFORMANCE_REDIS")
    return RedisHarness(url or RedisServer().url)


def cluster() -> ClusterHarness:
    """Return the harness of ``settled_redis:cluster``: three servers."""
    url = os.environ.get("SETTLED_CONFORMANCE_REDIS")
    return ClusterHarness(url or start_cluster(3)[0].url)


def killed() -> KilledHarness:
    """Return the harness of ``settled_redis:killed``: a server with ``appendfsync always``, killed repeatedly."""
    return KilledHarness(RedisServer("--appendonly", "yes", "--appendfsync", "always"))
