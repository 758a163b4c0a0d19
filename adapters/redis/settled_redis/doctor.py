"""Examination of the servers' settings for those that can lose acknowledged writes.

Whether an acknowledged write is safe also depends on whether a replica had received it; see
`settled_redis.durability` for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from attrs import evolve

from settled.errors import BackendRefusedError
from settled_redis.backend import RedisBackend
from settled_redis.connect import connect, largest_request, server_info
from settled_redis.connection import ServerConnection
from settled_redis.durability import losses, settings_of, unreadable, weaknesses
from settled_redis.keyspace import find, require_one_epoch
from settled_redis.url import Options, parse
from settled_runtime.doctor import BackendProblem, backlog_problems


def examine(url: str) -> Sequence[BackendProblem]:
    """Return the problems of the server or cluster at `url`. Nothing is changed there.

    Raises:
        BackendConfigError, AccessDeniedError, RecordError, UnavailableError: as `RedisBackend.open`.
    """
    parsed = parse(url)
    options = evolve(Options(), **parsed.options)
    servers = connect(parsed, options)
    try:
        space = find(servers, options.prefix)
        problems = [problem for server in servers.all_servers() for problem in _problems(server, options)]
        if space is not None:
            require_one_epoch(servers, space)
            with suppress(BackendRefusedError):  # this user may read the settings, and no more
                problems += backlog_problems(RedisBackend(servers, space, options, largest_request(servers)))
        return problems
    finally:
        servers.close()


def _problems(server: ServerConnection, options: Options) -> Iterator[BackendProblem]:
    found = settings_of(server)
    if found is None:
        yield unreadable(server)
        return
    yield from losses(server, found)
    yield from weaknesses(server, found)
    yield from _replica_problems(server, options)


def _replica_problems(server: ServerConnection, options: Options) -> Iterator[BackendProblem]:
    try:
        info = server_info(server, b"replication")
    except BackendRefusedError:
        return
    if info.get("role") == "slave":
        yield BackendProblem(f"{server.address}: is a replica", "it takes no writes", "Name the primary.")
        return
    found = int(info.get("connected_slaves", "0"))
    if found < options.replicas:
        problem = f"{server.address}: has {found} replicas, and writes wait for {options.replicas}"
        yield BackendProblem(
            problem, "the outcome of every write is unknown", "Start more, or ask for fewer in the URL."
        )
    elif found and not options.replicas:
        problem = f"{server.address}: has replicas, and writes do not wait for one"
        consequence = "a failover loses what the promoted replica had not received"
        yield BackendProblem(problem, consequence, "Add replicas=1 to the URL.")
