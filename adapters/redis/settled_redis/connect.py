"""From a URL to the servers behind it, once it is sure that they will do."""

from __future__ import annotations

from collections.abc import Mapping

from settled.errors import BackendConfigError
from settled_redis.cluster import Cluster
from settled_redis.connection import ServerConnection
from settled_redis.topology import SingleServer, Topology, checked
from settled_redis.url import Options, RedisUrl

OLDEST = (7, 0)
"""The oldest Redis that has all commands of ours. Valkey says which Redis it stands for."""

LARGEST = 512 * 1024 * 1024
"""How many bytes a server takes in one request, if it does not say."""


def reach(place: RedisUrl, options: Options) -> Topology:
    """The server or cluster at `place`.

    Raises:
        Denied: it refused the password, or is too old, or is something else.
        Unavailable: nobody answered.
    """
    server = ServerConnection(place.address, place.login, options)
    try:
        about = information(server, b"server")
        _expect_new_enough(place, about)
        if _mode(about) == "cluster":
            return Cluster(server, place.login, options)
        return SingleServer(server)
    except BaseException:
        server.close()
        raise


def information(server: ServerConnection, *sections: bytes) -> Mapping[str, str]:
    """What `server` says of itself in these sections of INFO."""
    answers = checked(server.ask([[b"INFO", section] for section in sections], changes=False), server)
    lines = (line.partition(":") for answer in answers for line in answer.decode().splitlines())
    return {name: text for name, colon, text in lines if colon}


def setting(server: ServerConnection, name: str) -> str | None:
    """The server's setting `name`; None if it is not for us to know."""
    try:
        (answer,) = checked(server.ask([[b"CONFIG", b"GET", name.encode()]], changes=False), server)
    except BackendConfigError:
        return None
    return answer[1].decode() if answer else None


def largest_request(servers: Topology) -> int:
    """How many bytes every one of `servers` takes in one request."""
    said = [setting(server, "proto-max-bulk-len") for server in servers.all_servers()]
    return min((int(each) for each in said if each), default=LARGEST)


def _expect_new_enough(place: RedisUrl, about: Mapping[str, str]) -> None:
    mode, version = _mode(about), about.get("redis_version", "0")
    if mode not in ("standalone", "cluster"):
        raise BackendConfigError(
            f"{place.address}: is a {mode or 'server of another kind'}: name a server that takes writes"
        )
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise BackendConfigError(f"{place.address}: is Redis {version}: settled needs 7.0 or newer, or Valkey")


def _mode(about: Mapping[str, str]) -> str:
    return about.get("redis_mode") or about.get("server_mode", "")  # the second is Valkey's own word
