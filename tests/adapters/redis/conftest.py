"""Each test that uses `env` runs on Redis and on Valkey.

The servers are started once; each test has a prefix of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any, TypeAlias, cast

import pytest

from settled_redis.backend import RedisBackend
from tests.adapters.local.fixtures import LEASE, BackendEnv, Clock
from tests.emulators.redis_servers import UNSYNCED, Process, redis_binary, running, running_cluster, valkey_binary

Opener: TypeAlias = Callable[..., RedisBackend]


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(redis_binary(), tmp_path_factory.mktemp("redis"), *UNSYNCED) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(valkey_binary(), tmp_path_factory.mktemp("valkey"), *UNSYNCED) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server of a cluster of three."""
    with running_cluster(redis_binary(), tmp_path_factory.mktemp("cluster")) as servers:
        yield servers[1]


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """The prefix of this test's keys."""
    return f"{request.node.nodeid}:".replace("{", "").replace("}", "")


@pytest.fixture
def opener(prefix: str) -> Iterator[Callable[[Process], Opener]]:
    """Return a function that returns, for a server, a function that opens this test's key space there."""
    with ExitStack() as opened:

        def on(server: Process) -> Opener:
            def open_it(**options: Any) -> RedisBackend:
                return opened.enter_context(closing(RedisBackend.open(server.url(), prefix=prefix, **options)))

            return open_it

        yield on


@pytest.fixture(params=["redis", "valkey"])
def env(request: pytest.FixtureRequest, opener: Callable[[Process], Opener]) -> BackendEnv:
    """An empty key space of one partition, with a clock that the test sets."""
    return env_on(opener(request.getfixturevalue(request.param)), partitions=1)


@pytest.fixture(params=["redis", "valkey", "partitions", "cluster"])
def any_env(request: pytest.FixtureRequest, opener: Callable[[Process], Opener]) -> BackendEnv:
    """As `env`, and also with three partitions, on one server and on a cluster."""
    server = "redis" if request.param == "partitions" else request.param
    partitions = 1 if request.param in ("redis", "valkey") else 3
    return env_on(opener(request.getfixturevalue(server)), partitions)


def env_on(open_it: Opener, partitions: int) -> BackendEnv:
    """Return an environment over the key space that `open_it` opens."""
    clock = Clock()

    def reopen() -> RedisBackend:
        return open_it(lease=timedelta(seconds=LEASE), partitions=partitions, clock=clock)

    return BackendEnv(clock, cast("Any", reopen()), cast("Any", reopen))


def requests(server: Process) -> int:
    """Return how often the server has read from its clients; it reads at once what is sent together."""
    return int(server.client.info("stats")["total_reads_processed"])


def commands(server: Process) -> int:
    """Return how many commands the server has executed, including those of scripts, but without INFO."""
    statistics: dict[str, dict[str, Any]] = server.client.info("commandstats")
    return sum(int(each["calls"]) for name, each in statistics.items() if name != "cmdstat_info")
