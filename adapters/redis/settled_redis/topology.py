"""What the rest of the adapter asks: the servers of a place, be they one or many.

A key's slot says who has it. One server has all of them; `settled_redis.cluster` knows how a cluster divides them.
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
        """Send `commands` together to whoever has `slot`. Returns their answers.

        A `NoScriptError` is returned, because its caller knows the script. Any other error is raised.

        Raises:
            Unavailable, Denied, RecordError: the command that raised it has changed nothing.
            Unknown: `changes`, and the answer was lost.
        """
        ...

    def wait(self, slot: int, command: RedisCommand) -> Any:
        """As `ask`, for one command whose answer may be long in coming, and that changes nothing."""
        ...

    def all_servers(self) -> Sequence[ServerConnection]:
        """All servers that take writes."""
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
            # Whoever opens a connection now may get to the server that was promoted.
            self._server.forget()
        return checked(answers, self._server)

    def wait(self, slot: int, command: RedisCommand) -> Any:
        return checked([self._server.ask_alone(command)], self._server)[0]

    def all_servers(self) -> Sequence[ServerConnection]:
        return [self._server]

    def close(self) -> None:
        self._server.close()


def checked(answers: list[Any], server: ServerConnection) -> list[Any]:
    """`answers`, if none of them is an error, but for a script that `server` does not know.

    Raises:
        Unavailable, Denied, RecordError: as the first error says.
    """
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, NoScriptError):
            raise translated(answer, str(server.address)) from answer
    return answers
