"""Connecting to the server or cluster of a URL, and checking that it is suitable."""

from __future__ import annotations

from collections.abc import Mapping

from settled.errors import BackendConfigError, BackendRefusedError
from settled_redis.cluster import Cluster
from settled_redis.connection import ServerConnection
from settled_redis.topology import SingleServer, Topology, checked
from settled_redis.url import Options, RedisUrl

MIN_VERSION = (7, 0)
"""The oldest Redis that has all commands that settled uses. Valkey reports the version of Redis that it replaces."""

DEFAULT_MAX_REQUEST = 512 * 1024 * 1024
"""How many bytes a server takes in one request, if it does not say: Redis's default of ``proto-max-bulk-len``."""


def connect(url: RedisUrl, options: Options) -> Topology:
    """Connect to the server or cluster at `url`.

    Raises:
        BackendConfigError: the server is too old, or is something else, such as a sentinel.
        AccessDeniedError: it refused the user or the password.
        UnavailableError: no server answered.
    """
    server = ServerConnection(url.address, url.login, options)
    try:
        info = server_info(server, b"server")
        _require_supported(url, info)
        if _mode(info) == "cluster":
            return Cluster(server, url.login, options)
        return SingleServer(server)
    except BaseException:
        server.close()
        raise


def server_info(server: ServerConnection, *sections: bytes) -> Mapping[str, str]:
    """Return the fields of these sections of INFO."""
    answers = checked(server.ask([[b"INFO", section] for section in sections], changes=False), server)
    lines = (line.partition(":") for answer in answers for line in answer.decode().splitlines())
    return {name: text for name, colon, text in lines if colon}


def settings(server: ServerConnection, *names: str) -> Mapping[str, str]:
    """Return those of the server's settings that exist and that this user may read."""
    command = [b"CONFIG", b"GET", *(name.encode() for name in names)]
    try:
        (answer,) = checked(server.ask([command], changes=False), server)
    except BackendRefusedError:
        return {}
    return {name.decode(): value.decode() for name, value in zip(answer[::2], answer[1::2], strict=True)}


def largest_request(servers: Topology) -> int:
    """Return how many bytes each of `servers` takes in one request."""
    name = "proto-max-bulk-len"
    limits = [settings(server, name).get(name) for server in servers.all_servers()]
    return min((int(each) for each in limits if each), default=DEFAULT_MAX_REQUEST)


def _require_supported(url: RedisUrl, info: Mapping[str, str]) -> None:
    mode, version = _mode(info), info.get("redis_version", "0")
    if mode not in ("standalone", "cluster"):
        raise BackendConfigError(
            f"{url.address}: is a {mode or 'server of another kind'}: name a server that takes writes"
        )
    if tuple(map(int, version.split(".")[:2])) < MIN_VERSION:
        raise BackendConfigError(f"{url.address}: is Redis {version}: settled needs 7.0 or newer, or Valkey")


def _mode(info: Mapping[str, str]) -> str:
    return info.get("redis_mode") or info.get("server_mode", "")  # the second is Valkey's name for it
