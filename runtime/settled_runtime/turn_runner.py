"""A turn in the hands of a `Host`: driven step by step, until it is over in one way or another.

Whatever ends it, what it held is let go of, and the observers are told, once.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import assert_never

from settled import End, Key, SettledError
from settled.durable.commands import Act, Acted, Answer, Command, Done, Extend, Finish, Letters, Load, Release, Run
from settled_runtime.actor_threads import Calls, awaited
from settled_runtime.command_loop import Driven
from settled_runtime.events import TurnBegan, TurnRaised
from settled_runtime.host_context import AFTER_AN_ERROR, House
from settled_runtime.leases import Held
from settled_runtime.shutdown import Interruption


class Turn:
    """The turn of what is `held` of `key`.

    Attributes:
        end: how it ended, or the error with which it could not go on; None while it is under way.
    """

    def __init__(
        self, house: House, key: Key, held: Held, interruption: Interruption, deadline: float | None = None
    ) -> None:
        self.key = key
        self.held = held
        self.end: End | Exception | None = None
        self._house = house
        self._interruption = interruption
        self._deadline = deadline
        self._calls: Calls | None = None
        self._driven = Driven(house.course(key, held.deliveries))
        house.observe(TurnBegan(key, tuple(delivery.message.id for delivery in held.deliveries)))
        self._move(self._driven.begin)

    @property
    def command(self) -> Command | None:
        """What is to be performed next; None once it is over."""
        return None if self.end is not None else self._driven.command

    def step(self) -> None:
        """Perform what is to be performed next."""
        command = self.command
        if command is not None:
            self._move(lambda: self._driven.step(command, self._perform))

    def go_on(self) -> End | Exception:
        """Take it to its end."""
        while self.end is None:
            self.step()
        return self.end

    def answer(self, commit: Finish, error: Exception | None) -> None:
        """Go on from `commit`, at which it stands: it was made together with others, or came to `error`."""
        if error is not None:
            self._move(lambda: self._driven.refuse(_again(error)))
            return
        self._house.note(commit, self.held)
        self._move(lambda: self._driven.answer(Done(self._house.clock())))

    def _move(self, on: Callable[[], None]) -> None:
        try:
            on()
        except Exception as error:
            self._house.observe(TurnRaised(self.key, error))
            self._house.give_back(self.held, AFTER_AN_ERROR)
            self.end = error
        else:
            if self._driven.command is None:
                self._house.keeper.let_go(self.held)
                self.end = self._house.ended(self.key, self._driven.result)

    def _perform(self, command: Command) -> Answer:
        match command:
            case Load() | Letters() | Finish() | Release() | Extend():
                answer: Answer = self._house.perform(command, self.held)
                return answer
            case Act():
                return self._act(command)
            case Run():
                self._calls = self._calls or Calls(self._house, self.held)
                return self._calls.run(command, self._interruption, self._deadline)
            case _:
                assert_never(command)

    def _act(self, command: Act) -> Acted:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                awaited(self._house.action(command, action, self.held)())
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            self._house.performed(command, action, error)
            if error is not None:
                return Acted(count, self._house.clock(), error)
        return Acted(len(command.actions), self._house.clock())


def _again(error: Exception) -> Exception:
    """`error`, for one of several turns that it is to be raised in: an error remembers where it was."""
    if not isinstance(error, SettledError):
        return error  # it ends the turn wherever it is raised, and not all such can be copied
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
