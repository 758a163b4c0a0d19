"""The settings of a server with which it loses acknowledged writes.

settled waits for every answer and continues only after it. Whether an acknowledged write is safe depends on the server:
on whether it had been written to disk by then, and on whether the server may evict it for want of memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

from settled.errors import BackendConfigError
from settled_redis.connect import settings
from settled_redis.connection import ServerConnection
from settled_redis.topology import Topology
from settled_runtime.doctor import BackendProblem

_SETTINGS = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory", "maxmemory-policy")

_FSYNC = {
    "everysec": "writes acknowledged in the last second are lost if the machine fails",
    "no": "writes acknowledged in about the last half minute are lost if the machine fails",
}


def require_durable(servers: Topology) -> None:
    """Check that each of `servers` keeps what it acknowledges, and warn of each whose settings this user may not read.

    Raises:
        BackendConfigError: a server has one of `losses`.
    """
    for server in servers.all_servers():
        known = settings_of(server)
        if known is None:
            problem = f"{unreadable(server)} Or check them yourself, and add check_durability=no to the URL."
            warnings.warn(problem, RuntimeWarning, stacklevel=3)
            continue
        for loss in losses(server, known):
            raise BackendConfigError(f"{loss} Or, if that may happen, add check_durability=no to the URL.")


def settings_of(server: ServerConnection) -> Mapping[str, str] | None:
    """Return the server's settings that matter here; None if this user may not read them."""
    found = settings(server, *_SETTINGS)
    return found if "appendonly" in found else None


def unreadable(server: ServerConnection) -> BackendProblem:
    """Return the problem that this user may not read the settings of `server`."""
    problem = f"{server.address}: this user may not read its settings"
    return BackendProblem(
        problem, "it is unknown whether its acknowledged writes are durable", "Let the user call CONFIG GET."
    )


def losses(server: ServerConnection, found: Mapping[str, str]) -> Iterator[BackendProblem]:
    """Yield the settings with which a server that stops, or is full, loses writes that were acknowledged long ago."""
    if found["appendonly"] != "yes":
        since = "since the last snapshot" if found.get("save") else "that it holds"
        consequence = f"everything {since} is lost when the server stops"
        problem = f"{server.address}: appendonly {found['appendonly']}"
        yield BackendProblem(problem, consequence, "Set appendonly yes.")
    policy = found.get("maxmemory-policy", "")
    # The volatile policies evict only keys with a time to live, and settled's keys have none.
    if policy.startswith("allkeys-"):
        when = " once it has a maxmemory" if found.get("maxmemory") == "0" else " when memory runs out"
        problem = f"{server.address}: maxmemory-policy {policy}"
        yield BackendProblem(problem, f"instances and messages are evicted{when}", "Set maxmemory-policy noeviction.")


def weaknesses(server: ServerConnection, found: Mapping[str, str]) -> Iterator[BackendProblem]:
    """Yield the settings with which a machine that fails loses its latest writes."""
    if found["appendonly"] != "yes":
        return
    fsync = found.get("appendfsync", "")
    if fsync in _FSYNC:
        yield BackendProblem(f"{server.address}: appendfsync {fsync}", _FSYNC[fsync], "Set appendfsync always.")
    elif found.get("no-appendfsync-on-rewrite") == "yes":
        problem = f"{server.address}: no-appendfsync-on-rewrite yes"
        consequence = "writes acknowledged while it rewrites its file are lost if the machine fails"
        yield BackendProblem(problem, consequence, "Set no-appendfsync-on-rewrite no.")
