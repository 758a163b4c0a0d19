"""Examination of the servers' settings for those that can lose acknowledged writes.

settled waits for every answer and continues only after it. Whether an acknowledged write is safe depends on the server:
on whether it had been written to disk by then, on whether a replica had received it, and on whether the server may
evict it for want of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from attrs import evolve

from settled.errors import BackendRefusedError
from settled_redis.backend import RedisBackend
from settled_redis.connect import connect, largest_request, server_info, setting
from settled_redis.connection import ServerConnection
from settled_redis.keyspace import find
from settled_redis.url import Options, parse
from settled_runtime.doctor import BackendProblem, backlog_problems

_FSYNC = {
    "everysec": "writes acknowledged in the last second are lost if the machine fails",
    "no": "writes acknowledged in about the last half minute are lost if the machine fails",
}


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
            with suppress(BackendRefusedError):  # this user may read the settings, and no more
                problems += backlog_problems(RedisBackend(servers, space, options, largest_request(servers)))
        return problems
    finally:
        servers.close()


def _problems(server: ServerConnection, options: Options) -> Iterator[BackendProblem]:
    settings = {name: setting(server, name) for name in _SETTINGS}
    if settings["appendonly"] is None:
        problem = f"{server.address}: this user may not read its settings"
        yield BackendProblem(
            problem, "it is unknown whether its acknowledged writes are durable", "Let the user call CONFIG GET."
        )
        return
    yield from _disk_problems(server, settings)
    yield from _memory_problems(server, settings)
    yield from _replica_problems(server, options)


_SETTINGS = (
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "save",
    "maxmemory",
    "maxmemory-policy",
)


def _disk_problems(server: ServerConnection, settings: Mapping[str, str | None]) -> Iterator[BackendProblem]:
    if settings["appendonly"] != "yes":
        since = "since the last snapshot" if settings["save"] else "that it holds"
        consequence = f"everything {since} is lost when the server stops"
        yield BackendProblem(
            f"{server.address}: appendonly {settings['appendonly']}", consequence, "Set appendonly yes."
        )
        return
    fsync = settings["appendfsync"]
    if fsync in _FSYNC:
        yield BackendProblem(f"{server.address}: appendfsync {fsync}", _FSYNC[fsync], "Set appendfsync always.")
    elif settings["no-appendfsync-on-rewrite"] == "yes":
        problem = f"{server.address}: no-appendfsync-on-rewrite yes"
        consequence = "writes acknowledged while it rewrites its file are lost if the machine fails"
        yield BackendProblem(problem, consequence, "Set no-appendfsync-on-rewrite no.")


def _memory_problems(server: ServerConnection, settings: Mapping[str, str | None]) -> Iterator[BackendProblem]:
    policy = settings["maxmemory-policy"] or ""
    # The volatile policies evict only keys with a time to live, and settled's keys have none.
    if policy.startswith("allkeys-"):
        when = " once it has a maxmemory" if settings["maxmemory"] == "0" else " when memory runs out"
        problem = f"{server.address}: maxmemory-policy {policy}"
        yield BackendProblem(problem, f"instances and messages are evicted{when}", "Set maxmemory-policy noeviction.")


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
