"""A cluster: which server has which slot, and what to do when that has changed.

The map of the slots may be out of date at any time. A server that does not have a slot answers MOVED with the server
that has it, and does nothing else; then the command is sent there, once. A server that cannot be reached may have been
replaced: before the next call, the map is loaded again from any server that answers.

While a slot is being moved, some of its keys are on one server and some on the other, and a script would find only half
of them. Therefore each script names a key that never exists (``absent``): a server that is giving the slot away refuses
the script for that key, before anything is done. The partition is unavailable until the move is complete.
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
class _SlotMap:
    """`owners[n]` has the slots from `starts[n]` to `ends[n]`, both included."""

    starts: Sequence[int]
    ends: Sequence[int]
    owners: Sequence[Address]

    def owner(self, slot: int) -> Address | None:
        index = bisect_right(self.starts, slot) - 1
        return self.owners[index] if index >= 0 and slot <= self.ends[index] else None


class Cluster:
    """The cluster that the server `seed` belongs to."""

    def __init__(self, seed: ServerConnection, login: Login, options: Options) -> None:
        self._seed = seed
        self._login = login
        self._options = options
        self._lock = threading.Lock()
        self._servers: dict[Address, ServerConnection] = {seed.address: seed}
        self._slot_map: _SlotMap | None = None

    @property
    def is_cluster(self) -> bool:
        return True

    def ask(self, slot: int, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        server = self.owner(slot)
        answers = self._ask(server, commands, changes)
        moved = next((answer for answer in answers if isinstance(answer, MovedError)), None)
        if moved is not None:
            # All commands have the same slot, so all of them were refused. To send all of them again repeats none.
            self._forget_slot_map()
            server = self._server(_redirect_target(moved, server))
            answers = self._ask(server, commands, changes)
        if any(isinstance(answer, (MovedError, ReadOnlyError, ClusterDownError)) for answer in answers):
            self._forget_slot_map()
        return checked(answers, server)

    def wait(self, slot: int, command: RedisCommand) -> Any:
        server = self.owner(slot)
        try:
            return checked([server.ask_alone(command)], server)[0]
        except SettledError:
            self._forget_slot_map()
            raise

    def owner(self, slot: int) -> ServerConnection:
        owner = self._known_slot_map().owner(slot)
        if owner is None:
            self._forget_slot_map()
            raise UnavailableError(f"{self._seed.address}: no server of the cluster has the slot {slot}")
        return self._server(owner)

    def all_servers(self) -> Sequence[ServerConnection]:
        slot_map = self._known_slot_map()
        return [self._server(address) for address in dict.fromkeys(slot_map.owners)]

    def close(self) -> None:
        with self._lock:
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    def _ask(self, server: ServerConnection, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        try:
            return server.ask(commands, changes)
        except (UnavailableError, OutcomeUnknownError):
            self._forget_slot_map()
            raise

    def _server(self, address: Address) -> ServerConnection:
        with self._lock:
            if address not in self._servers:
                self._servers[address] = ServerConnection(address, self._login, self._options)
            return self._servers[address]

    def _forget_slot_map(self) -> None:
        self._slot_map = None

    def _known_slot_map(self) -> _SlotMap:
        known = self._slot_map  # read once: another thread may forget it in between
        if known is None:
            known = self._slot_map = self._load_slot_map()
        return known

    def _load_slot_map(self) -> _SlotMap:
        """Load the map from the first server that answers; raise the last error if none does."""
        with self._lock:
            servers = list(self._servers.values())
        failure: SettledError | None = None
        for server in servers:
            try:
                (answer,) = checked(server.ask([[b"CLUSTER", b"SLOTS"]], changes=False), server)
            except SettledError as error:
                failure = error
                continue
            return _parse_slot_map(answer, server)
        assert failure is not None, "the seed is always known"
        raise failure


def _parse_slot_map(answer: Any, server: ServerConnection) -> _SlotMap:
    ranges = sorted((int(start), int(end), _primary(nodes, server)) for start, end, *nodes in answer)
    return _SlotMap(*zip(*ranges, strict=True)) if ranges else _SlotMap((), (), ())


def _primary(nodes: Any, server: ServerConnection) -> Address:
    host, port, *_ = nodes[0]  # CLUSTER SLOTS lists the primary first, then its replicas
    return _address(host.decode() if host else "", int(port), server)


def _redirect_target(moved: MovedError, server: ServerConnection) -> Address:
    host, _, port = str(moved.args[0]).split()[1].rpartition(":")
    return _address(host, int(port), server)


def _address(host: str, port: int, asked: ServerConnection) -> Address:
    # A server that does not know its own host name omits it, and means the host at which it was asked.
    return Address(host if host and host != "?" else asked.address.host, port)
