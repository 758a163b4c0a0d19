"""What in the settings of a server endangers what it has answered.

settled waits for every answer and goes on only after it. What an answer is worth is for the server to say: whether it
had written to its disk by then, whether a replica knew of it, and whether it may be thrown out again for want of
memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from settled.errors import BackendRefusedError
from settled_redis.connect import information, reach, setting
from settled_redis.connection import ServerConnection
from settled_redis.keyspace import find
from settled_redis.url import Options, parse
from settled_runtime.doctor import BackendProblem

_FSYNC = {
    "everysec": "the last second of what was answered is lost if the machine fails",
    "no": "what was answered lately, half a minute of it or so, is lost if the machine fails",
}


def examine(url: str) -> Sequence[BackendProblem]:
    """What endangers the promises of the server or cluster at `url`; nothing is changed.

    Raises:
        Denied, RecordError, Unavailable: as `RedisBackend.open`.
    """
    place = parse(url)
    options = evolve(Options(), **place.given)
    servers = reach(place, options)
    try:
        find(servers, options.prefix)
        return [danger for server in servers.all_servers() for danger in _dangers(server, options)]
    finally:
        servers.close()


def _dangers(server: ServerConnection, options: Options) -> Iterator[BackendProblem]:
    settings = {name: setting(server, name) for name in _NAMES}
    if settings["appendonly"] is None:
        what = f"{server.address}: this user may not read its settings"
        yield BackendProblem(what, "nobody knows what an answer of it is worth", "Let the user call CONFIG GET.")
        return
    yield from _of_the_disk(server, settings)
    yield from _of_memory(server, settings)
    yield from _of_replicas(server, options)


_NAMES = (
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "save",
    "maxmemory",
    "maxmemory-policy",
)


def _of_the_disk(server: ServerConnection, settings: Mapping[str, str | None]) -> Iterator[BackendProblem]:
    if settings["appendonly"] != "yes":
        since = "since the last snapshot" if settings["save"] else "that it holds"
        harm = f"everything {since} is lost when the server stops"
        yield BackendProblem(f"{server.address}: appendonly {settings['appendonly']}", harm, "Set appendonly yes.")
        return
    fsync = settings["appendfsync"]
    if fsync in _FSYNC:
        yield BackendProblem(f"{server.address}: appendfsync {fsync}", _FSYNC[fsync], "Set appendfsync always.")
    elif settings["no-appendfsync-on-rewrite"] == "yes":
        what = f"{server.address}: no-appendfsync-on-rewrite yes"
        harm = "what was answered while it rewrote its file is lost if the machine fails"
        yield BackendProblem(what, harm, "Set no-appendfsync-on-rewrite no.")


def _of_memory(server: ServerConnection, settings: Mapping[str, str | None]) -> Iterator[BackendProblem]:
    policy = settings["maxmemory-policy"] or ""
    # The volatile policies take only what has an end of its own, and nothing of ours has.
    if policy.startswith("allkeys-"):
        now = " once it has a maxmemory" if settings["maxmemory"] == "0" else " when memory runs out"
        what = f"{server.address}: maxmemory-policy {policy}"
        yield BackendProblem(what, f"instances and messages are thrown away{now}", "Set maxmemory-policy noeviction.")


def _of_replicas(server: ServerConnection, options: Options) -> Iterator[BackendProblem]:
    try:
        about = information(server, b"replication")
    except BackendRefusedError:
        return
    if about.get("role") == "slave":
        what = f"{server.address}: is a replica"
        yield BackendProblem(what, "it takes no writes", "Name the primary.")
        return
    found = int(about.get("connected_slaves", "0"))
    if found < options.replicas:
        what = f"{server.address}: has {found} replicas, and writes wait for {options.replicas}"
        yield BackendProblem(
            what, "nobody knows of any write whether it counts", "Start more, or ask for fewer in the URL."
        )
    elif found and not options.replicas:
        what = f"{server.address}: has replicas, and writes do not wait for one"
        harm = "what the replica that is promoted had not received yet is lost in a failover"
        yield BackendProblem(what, harm, "Add replicas=1 to the URL.")
