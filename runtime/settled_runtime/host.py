"""The host: turns, driven in the thread that calls it.

Its function actors run in threads of their own, because a machine may invoke several at once, and because one that
hangs past its timeout must not hold up the turn: it is left behind, and what it still returns is not listened to.
"""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, assert_never

from attrs import define, field, frozen

from settled import Backend, Call, Delivery, End, Key, Machine, Policy, SettledError
from settled.commands import Act, Acted, Answer, Command, Finish, Invocation, Letters, Load, Ran, Release, Result, Run
from settled_runtime.driving import drive
from settled_runtime.house import AFTER_AN_ERROR, House, by_key, described
from settled_runtime.interruption import Interruption
from settled_runtime.leases import Held
from settled_runtime.observe import CallEnded, Observer, TurnBegan, TurnRaised, log


class Host:
    """Takes messages through the instances of some machines, and of those machines' child machines.

    Args:
        machines: those that live here.
        backend: where they live.
        policy: how patient turns are; its lease is the backend's.
        observers: who is told what happens.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any, Any]],
        backend: Backend,
        *,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (log,),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._house = House.of(machines, backend, policy, observers, clock)
        self.backend = backend

    def handle(
        self, deliveries: Sequence[Delivery], interruption: Interruption | None = None, deadline: float | None = None
    ) -> Mapping[Key, End | Exception]:
        """Take `deliveries` through their turns, one key after the other.

        Args:
            interruption: once it is set, what runs is abandoned and handed back.
            deadline: when that happens by itself, in seconds since the epoch.

        Returns:
            For each key how its turn ended, or the error with which it could not go on.
        """
        held = {key: self.hold(group) for key, group in by_key(deliveries).items()}
        return {key: self.take(key, group, interruption or Interruption(), deadline) for key, group in held.items()}

    def hold(self, deliveries: Sequence[Delivery]) -> Held:
        """Extend the leases of `deliveries`, all of one key, until `take` is done with them."""
        return self._house.keeper.hold(deliveries)

    def take(self, key: Key, held: Held, interruption: Interruption, deadline: float | None = None) -> End | Exception:
        """Take what is `held` of `key` through one turn."""
        house, deliveries = self._house, held.deliveries
        house.observe(TurnBegan(key, tuple(delivery.message.id for delivery in deliveries)))
        performer = _Performer(house, held, _Calls(house, held), interruption, deadline)
        try:
            return house.ended(key, drive(house.course(key, deliveries), performer.perform))
        except Exception as error:
            house.observe(TurnRaised(key, error))
            self.give_back(held, AFTER_AN_ERROR)
            return error
        finally:
            house.keeper.let_go(held)

    def give_back(self, held: Held, delay: float = 0.0) -> None:
        """Release what is `held` without a turn."""
        self._house.keeper.let_go(held)
        try:
            self.backend.queue.release(held.deliveries, delay)
        except SettledError:
            return  # The lease runs out, and the queue hands the messages out again.

    def close(self) -> None:
        """End the host's own thread. The backend stays open."""
        self._house.keeper.close()


@frozen(eq=False)
class _Performer:
    """Performs the commands of one turn."""

    house: House
    held: Held
    calls: _Calls
    interruption: Interruption
    deadline: float | None

    def perform(self, command: Command) -> Answer:
        match command:
            case Load() | Letters() | Finish() | Release():
                answer: Answer = self.house.perform(command, self.held)
                return answer
            case Act():
                return self._act(command)
            case Run():
                return self.calls.run(command, self.interruption, self.deadline)
            case _:
                assert_never(command)

    def _act(self, command: Act) -> Acted:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                _finished(self.house.action(command, action, self.held)())
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            self.house.performed(command, action, error)
            if error is not None:
                return Acted(count, self.house.clock(), error)
        return Acted(len(command.actions), self.house.clock())


def _finished(value: Any) -> Any:
    """`value`, or what it comes to if it is a coroutine. No event loop runs in the threads of this host."""
    if not inspect.iscoroutine(value):
        return value
    from asyncio import run  # noqa: PLC0415 (half of what importing this package would cost)

    return run(value)


_Attempt = tuple[str, int]
"""The idempotency key of an invocation, and which attempt it is."""


@define(eq=False)
class _Calls:
    """The function actors of one turn. `None` in the inbox says that somebody wants to be heard."""

    house: House
    held: Held
    _deadlines: dict[_Attempt, float | None] = field(factory=dict[_Attempt, "float | None"], init=False)
    _ended: dict[_Attempt, Result] = field(factory=dict[_Attempt, Result], init=False)
    _inbox: queue.SimpleQueue[tuple[_Attempt, Result] | None] = field(
        factory=queue.SimpleQueue["tuple[_Attempt, Result] | None"], init=False
    )

    def run(self, command: Run, interruption: Interruption, deadline: float | None) -> Ran:
        for invocation in command.invocations:
            if _attempt(invocation) not in self._deadlines:
                self._start(command, invocation)
        with interruption.calling(lambda: self._inbox.put(None)):
            return self._wait(command, deadline)

    def _start(self, command: Run, invocation: Invocation) -> None:
        function, call = self.house.begin_call(command, invocation, self.held)
        self._deadlines[_attempt(invocation)] = call.deadline
        arguments = (invocation, function, call)
        threading.Thread(target=self._work, args=arguments, name=f"settled-{invocation.src}", daemon=True).start()

    def _work(self, invocation: Invocation, function: Callable[..., Any], call: Call) -> None:
        try:
            result = Result(invocation.id, True, _finished(function(invocation.input, call)))
        except Exception as error:
            result = Result(invocation.id, False, described(error))
        self._inbox.put((_attempt(invocation), result))

    def _wait(self, command: Run, deadline: float | None) -> Ran:
        while True:
            result = self._first_ended(command)
            now = self.house.clock()
            if result is not None:
                self.house.observe(CallEnded(command.key, result))
                return Ran(result, now)
            if command.until is not None and command.until <= now:
                return Ran(None, now)
            if deadline is not None and deadline <= now:
                return Ran(None, now, interrupted=True)
            try:
                heard = self._inbox.get(timeout=self._patience(command, deadline, now))
            except queue.Empty:
                continue
            if heard is None:
                return Ran(None, self.house.clock(), interrupted=True)
            self._ended.setdefault(*heard)

    def _first_ended(self, command: Run) -> Result | None:
        now = self.house.clock()
        for invocation in command.invocations:
            attempt = _attempt(invocation)
            deadline = self._deadlines[attempt]
            if attempt in self._ended:
                return self._ended[attempt]
            if deadline is not None and deadline <= now:
                late = TimeoutError(f"{invocation.src} did not end in time")
                return self._ended.setdefault(attempt, Result(invocation.id, False, described(late)))
        return None

    def _patience(self, command: Run, deadline: float | None, now: float) -> float | None:
        limits = [command.until, deadline, *(self._deadlines[_attempt(each)] for each in command.invocations)]
        waits = [limit - now for limit in limits if limit is not None]
        return max(0.0, min(waits)) if waits else None


def _attempt(invocation: Invocation) -> _Attempt:
    return (invocation.idempotency_key, invocation.attempt)
