"""The harnesses of Redis: one server, a cluster of three, and a server that is killed again and again.

The server is the one whose URL is in ``SETTLED_CONFORMANCE_REDIS``, of which only keys under a prefix of ours are
touched; or one is started. Time is the harness's, as for the local backends, so that it can be moved: leases and timers
by the server's own clock differ from these in one number, which the script is given or reads. Processes go by the
server's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import frozen

from settled.durable import Backend, Capability
from settled_conformance.harness import BackendKind, Harness, Opener, Point
from settled_conformance.harnesses.local import EPOCH, Clock
from settled_conformance.harnesses.redis_servers import RedisServer, start_cluster
from settled_redis.backend import RedisBackend
from settled_redis.connect import largest_request, reach
from settled_redis.connection import RedisCommand, ServerConnection
from settled_redis.keyspace import prepare
from settled_redis.topology import Topology
from settled_redis.url import Options, parse

RESTART_EVERY = 40
"""After how many moves of the clock the server that is killed is killed once more."""


class RedisHarness(Harness):
    """A key space at `url`, under a prefix of its own for each reset."""

    kind = BackendKind.REAL
    capabilities = frozenset(Capability)
    tick = 0.001
    partitions = 1

    def __init__(self, url: str) -> None:
        self._url = url
        self._clock = Clock()
        self._point: Point | None = None
        self._resets = 0
        self._keeper = reach(parse(url), Options())
        self._limit = largest_request(self._keeper)
        self._free: list[Topology] = []

    @property
    def _options(self) -> dict[str, Any]:
        return {"prefix": f"settled-conformance-{os.getpid()}-{self._resets}:", "partitions": self.partitions}

    def open(self) -> Backend:
        # Each handle has connections of its own; those of one that was closed serve the next one.
        options = Options(**self._options)
        servers = _Watched(self._free.pop() if self._free else reach(parse(self._url), options), self)
        space = prepare(servers, options.prefix, options.partitions)
        return RedisBackend(servers, space, options, self._limit, self._clock)

    def reset(self) -> None:
        for server in self._keeper.all_servers():
            _erase(server, f"settled-conformance-{os.getpid()}-*")
        self._resets += 1
        self._clock.time = EPOCH

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    def opener(self) -> Opener | None:
        return partial(RedisBackend.open, self._url, lease=1.0, **self._options)

    def before_round_trip(self, name: str) -> None:
        """A round trip is about to be made."""
        if self._point is not None:
            self._point(name)

    def give_back(self, servers: Topology) -> None:
        """A handle was closed; closing twice is no error."""
        if all(each is not servers for each in self._free):
            self._free.append(servers)


class ClusterHarness(RedisHarness):
    """A key space of several partitions, on three servers: what belongs to two of them is not one transaction."""

    capabilities = frozenset(Capability) - {Capability.ATOMIC_FINISH}
    partitions = 4


class KilledHarness(RedisHarness):
    """A server that has each answer on its disk first, and is killed while time passes."""

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
class _Watched:
    """The servers of one handle of `harness`, which is told before each round trip."""

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

    def all_servers(self) -> Sequence[ServerConnection]:
        return self.servers.all_servers()

    def close(self) -> None:
        self.harness.give_back(self.servers)


def _erase(server: ServerConnection, pattern: str) -> None:
    cursor, begun = b"0", False
    while cursor != b"0" or not begun:
        (answer,) = server.ask([[b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", b"10000"]], changes=False)
        cursor, names = answer
        begun = True
        if names:
            server.ask([[b"UNLINK", name] for name in names], changes=True)


def backend() -> RedisHarness:
    """What ``settled_redis:backend`` is tested by: one server."""
    url = os.environ.get("SETTLED_CONFORMANCE_REDIS")
    return RedisHarness(url or RedisServer("--appendonly", "no").url)


def cluster() -> ClusterHarness:
    """``settled_redis:cluster``: three servers."""
    url = os.environ.get("SETTLED_CONFORMANCE_REDIS")
    return ClusterHarness(url or start_cluster(3)[0].url)


def killed() -> KilledHarness:
    """``settled_redis:killed``: a server with ``appendfsync always`` that is killed in the middle of everything."""
    return KilledHarness(RedisServer("--appendonly", "yes", "--appendfsync", "always"))
