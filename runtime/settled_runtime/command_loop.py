"""The driver of a generator of commands: it performs each command and sends the answer back in.

A turn is a generator that decides and does no I/O: it yields a `Command` and is resumed with the `Answer`. Every host
resumes it here. Which function performs the commands is up to the caller, so the same turn runs in a thread, in an
event loop, or step by step beside others.

Its law: an error that is settled's own (`SettledError`) is thrown into the generator at the command that failed,
because only the turn knows what it means there (a conflict is computed again, a lost answer is looked up). Any other
error is a bug; it is raised to the caller, and the generator is abandoned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from settled import SettledError
from settled.durable.commands import Answer, Command, Commands

T = TypeVar("T")


class CommandLoop(Generic[T]):
    """A generator of commands and the command that it waits for.

    Call `run` or `run_async` to run it to its end; or `start`, and then `step`, `send` or `throw` for one command at a
    time. Each of these resumes the generator and returns when it waits for its next command, or has ended. They raise
    what the generator raises.

    Attributes:
        command: the command to be performed next; None before the start and after the end.
        result: what the generator returned; set when it has ended.
    """

    result: T

    def __init__(self, commands: Commands[T]) -> None:
        self.command: Command | None = None
        self._commands = commands

    def start(self) -> None:
        """Run to the first command."""
        self._resume(lambda: next(self._commands))

    def send(self, answer: Answer) -> None:
        """Resume with the answer to `command`."""
        self._resume(lambda: self._commands.send(answer))

    def throw(self, error: Exception) -> None:
        """Resume by raising `error` at `command`, which failed with it."""
        self._resume(lambda: self._commands.throw(error))

    def step(self, command: Command, perform: Callable[[Command], Answer]) -> None:
        """Perform `command`, the one that is waited for, and resume with its answer or its error."""
        try:
            answer = perform(command)
        except SettledError as error:
            self.throw(error)
        else:
            # Outside the try: an error that the generator raises here is the turn's own, and must not be thrown into
            # it again as if the command had failed.
            self.send(answer)

    def run(self, perform: Callable[[Command], Answer]) -> T:
        """Run to the end, one command after the other, and return the result."""
        self.start()
        while self.command is not None:
            self.step(self.command, perform)
        return self.result

    async def run_async(self, perform: Callable[[Command], Awaitable[Answer]]) -> T:
        """Run to the end like `run`, awaiting each command."""
        self.start()
        while self.command is not None:
            try:
                answer = await perform(self.command)
            except SettledError as error:
                self.throw(error)
            else:
                self.send(answer)
        return self.result

    def _resume(self, resume: Callable[[], Command]) -> None:
        try:
            self.command = resume()
        except StopIteration as end:
            self.command, self.result = None, end.value
