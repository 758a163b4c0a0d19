"""The interface to the servers, one or many, that the rest of the adapter uses.

A key's slot selects its server. A single server has all slots; `settled_redis.cluster` knows how a cluster divides
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from redis.exceptions import NoScriptError, ReadOnlyError

from settled_redis.connection import RedisCommand, ServerConnection
from settled_redis.errors import translated


class Topology(Protocol):
    """One server or a cluster."""

    @property
    def is_cluster(self) -> bool: ...

    def ask(self, slot: int, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        """Send `commands` together to the server that has `slot`, and return their answers.

        A `NoScriptError` is returned, because the caller has the script. Any other error is raised.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError, RecordError: the command that raised it has changed
                nothing.
            OutcomeUnknownError: `changes` is set, and the answer was lost.
        """
        ...

    def wait(self, slot: int, command: RedisCommand) -> Any:
        """Send a command that blocks at the server and changes nothing, and return its answer.

        It gets a connection of its own, because everything that is sent behind it on the same one waits too.
        """
        ...

    def owner(self, slot: int) -> ServerConnection:
        """Return the server that has `slot`, as far as is known."""
        ...

    def all_servers(self) -> Sequence[ServerConnection]:
        """Return all servers that take writes."""
        ...

    def close(self) -> None: ...


class SingleServer:
    """A server that has all slots."""

    def __init__(self, server: ServerConnection) -> None:
        self._server = server

    @property
    def is_cluster(self) -> bool:
        return False

    def ask(self, slot: int, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        answers = self._server.ask(commands, changes)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            # It is a replica now. A new connection to the same address may reach the server that was promoted.
            self._server.close_free_connections()
        return checked(answers, self._server)

    def wait(self, slot: int, command: RedisCommand) -> Any:
        return checked([self._server.ask_alone(command)], self._server)[0]

    def owner(self, slot: int) -> ServerConnection:
        return self._server

    def all_servers(self) -> Sequence[ServerConnection]:
        return [self._server]

    def close(self) -> None:
        self._server.close()


def checked(answers: list[Any], server: ServerConnection) -> list[Any]:
    """Return `answers` if none of them is an error, except a `NoScriptError`.

    Raises:
        UnavailableError, AccessDeniedError, BackendConfigError, RecordError: see `translated`; for the first error.
    """
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, NoScriptError):
            raise translated(answer, str(server.address)) from answer
    return answers
