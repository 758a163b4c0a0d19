"""A cluster: which server has which slot, and what to do when that has changed.

The map of the slots is only ever a guess. A server that does not have a slot says who has it, and has done nothing;
so the command is carried there, once. A server that cannot be reached may have been replaced: the map is drawn again
before the next call, by whoever still answers.

While a slot moves, its keys are in two places, and a script that went on would find half of them. So it does not: each
script names a key that never exists, and a server that is giving the slot away refuses for that, before anything is
done. The partition is unavailable until it has arrived.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError

from settled.errors import OutcomeUnknownError, SettledError, UnavailableError
from settled_redis.connection import RedisCommand, ServerConnection
from settled_redis.topology import checked
from settled_redis.url import Address, Login, Options


@frozen
class _Map:
    """`owners[n]` has the slots from `starts[n]` to `ends[n]`."""

    starts: Sequence[int]
    ends: Sequence[int]
    owners: Sequence[Address]

    def owner(self, slot: int) -> Address | None:
        place = bisect_right(self.starts, slot) - 1
        return self.owners[place] if place >= 0 and slot <= self.ends[place] else None


class Cluster:
    """The cluster that the server at `seed` belongs to."""

    def __init__(self, seed: ServerConnection, login: Login, options: Options) -> None:
        self._seed = seed
        self._login = login
        self._options = options
        self._lock = threading.Lock()
        self._servers: dict[Address, ServerConnection] = {seed.address: seed}
        self._map: _Map | None = None

    @property
    def is_cluster(self) -> bool:
        return True

    def ask(self, slot: int, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        server = self._owner(slot)
        answers = self._ask(server, commands, changes)
        moved = next((answer for answer in answers if isinstance(answer, MovedError)), None)
        if moved is not None:
            self._forget_map()
            server = self._server(_pointed_to(moved, server))
            answers = self._ask(server, commands, changes)
        if any(isinstance(answer, (MovedError, ReadOnlyError, ClusterDownError)) for answer in answers):
            self._forget_map()
        return checked(answers, server)

    def wait(self, slot: int, command: RedisCommand) -> Any:
        server = self._owner(slot)
        try:
            return checked([server.ask_alone(command)], server)[0]
        except SettledError:
            self._forget_map()
            raise

    def all_servers(self) -> Sequence[ServerConnection]:
        slots = self._known_map()
        return [self._server(address) for address in dict.fromkeys(slots.owners)]

    def close(self) -> None:
        with self._lock:
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    def _ask(self, server: ServerConnection, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        try:
            return server.ask(commands, changes)
        except (UnavailableError, OutcomeUnknownError):
            self._forget_map()
            raise

    def _owner(self, slot: int) -> ServerConnection:
        owner = self._known_map().owner(slot)
        if owner is None:
            self._forget_map()
            raise UnavailableError(f"{self._seed.address}: nobody in the cluster has the slot {slot}")
        return self._server(owner)

    def _server(self, address: Address) -> ServerConnection:
        with self._lock:
            if address not in self._servers:
                self._servers[address] = ServerConnection(address, self._login, self._options)
            return self._servers[address]

    def _forget_map(self) -> None:
        self._map = None

    def _known_map(self) -> _Map:
        known = self._map
        if known is None:
            known = self._map = self._draw_map()
        return known

    def _draw_map(self) -> _Map:
        with self._lock:
            servers = list(self._servers.values())
        failure: SettledError | None = None
        for server in servers:
            try:
                (answer,) = checked(server.ask([[b"CLUSTER", b"SLOTS"]], changes=False), server)
            except SettledError as error:
                failure = error
                continue
            return _drawn(answer, server)
        assert failure is not None, "the seed is always known"
        raise failure


def _drawn(answer: Any, server: ServerConnection) -> _Map:
    ranges = sorted((int(start), int(end), _primary(nodes, server)) for start, end, *nodes in answer)
    return _Map(*zip(*ranges, strict=True)) if ranges else _Map((), (), ())


def _primary(nodes: Any, server: ServerConnection) -> Address:
    host, port, *_ = nodes[0]
    return _address(host.decode() if host else "", int(port), server)


def _pointed_to(moved: MovedError, server: ServerConnection) -> Address:
    host, _, port = str(moved.args[0]).split()[1].rpartition(":")
    return _address(host, int(port), server)


def _address(host: str, port: int, from_whom: ServerConnection) -> Address:
    """A server that does not know its own name leaves it out, and means the one it was asked by."""
    return Address(host if host and host != "?" else from_whom.address.host, port)
