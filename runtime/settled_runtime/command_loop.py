"""The drivers: of a generator of commands, one runs it in this thread, the other awaits.

An error that is settled's own is raised where the generator waits for its answer, because it may know what to do
about it; anything else ends the turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from settled import SettledError
from settled.durable.commands import Answer, Command, Commands

T = TypeVar("T")


class CommandLoop(Generic[T]):
    """A course that stands at a command, once it was begun, until it has come to its end.

    Attributes:
        command: what it waits for; None before and after.
        result: what it came to, once it is over.
    """

    result: T

    def __init__(self, commands: Commands[T]) -> None:
        self.command: Command | None = None
        self._commands = commands

    def start(self) -> None:
        """Go to the first command."""
        self._go(lambda: next(self._commands))

    def send(self, answer: Answer) -> None:
        """Go on to the next command."""
        self._go(lambda: self._commands.send(answer))

    def throw(self, error: Exception) -> None:
        """Go on from a command that came to `error`."""
        self._go(lambda: self._commands.throw(error))

    def step(self, command: Command, perform: Callable[[Command], Answer]) -> None:
        """Perform the `command` at which it stands."""
        try:
            answer = perform(command)
        except SettledError as error:
            self.throw(error)
        else:
            self.send(answer)

    def run(self, perform: Callable[[Command], Answer]) -> T:
        """Go all the way."""
        self.start()
        while self.command is not None:
            self.step(self.command, perform)
        return self.result

    async def run_async(self, perform: Callable[[Command], Awaitable[Answer]]) -> T:
        """Go all the way."""
        self.start()
        while self.command is not None:
            try:
                answer = await perform(self.command)
            except SettledError as error:
                self.throw(error)
            else:
                self.send(answer)
        return self.result

    def _go(self, on: Callable[[], Command]) -> None:
        try:
            self.command = on()
        except StopIteration as end:
            self.command, self.result = None, end.value
