"""The kernel: tasks take turns, one round trip at a time, and the tape says who is next and what goes wrong.

A task is a generator of `Trip`s: what it would do next, not yet done. So a task can be stopped before anything it
does and after it, another can come in between, and hours can pass. Time moves only here: to the next known deadline,
or one tick to either side of it, because that is where clocks are got wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import Factory, define, field, frozen

from settled import AccessDeniedError, OutcomeUnknownError, SettledError, TooLargeError, UnavailableError
from settled_conformance.simulator.choices import Choices

MAX_ROUND_TRIPS = 4_000
"""How many round trips a run may take before it counts as one that never comes to rest."""


class InjectedFault(StrEnum):
    """What may happen to one round trip."""

    CRASH_BEFORE = "crashes before"
    CRASH_AFTER = "crashes after"
    LOST_ANSWER = "loses the answer of"
    ERROR = "is refused"
    PARK_BEFORE = "parks before"
    PARK_AFTER = "parks after"
    REPEAT = "is handed again what it had acknowledged, by"
    FAIL = "fails in"
    AHEAD = "has a clock ahead of"
    BEHIND = "has a clock behind"
    BACK = "has a clock that jumps back before"
    DENIED = "is denied"
    TOO_LARGE = "finds no room for"
    UNANSWERED = "never gets through to"
    CRASH_WITHIN = "crashes in the middle of"
    ERROR_WITHIN = "is refused in the middle of"
    TOO_LARGE_WITHIN = "finds no room in the middle of"


ERRORS: Mapping[InjectedFault, type[SettledError]] = {
    InjectedFault.ERROR: UnavailableError,
    InjectedFault.DENIED: AccessDeniedError,
    InjectedFault.TOO_LARGE: TooLargeError,
    InjectedFault.UNANSWERED: OutcomeUnknownError,
    InjectedFault.ERROR_WITHIN: UnavailableError,
    InjectedFault.TOO_LARGE_WITHIN: TooLargeError,
}
"""What is raised instead of an answer; nothing, or the first half, has happened then."""


READ = (InjectedFault.CRASH_BEFORE, InjectedFault.PARK_BEFORE, InjectedFault.PARK_AFTER, InjectedFault.ERROR)
WRITE = (
    InjectedFault.CRASH_BEFORE,
    InjectedFault.CRASH_AFTER,
    InjectedFault.PARK_BEFORE,
    InjectedFault.PARK_AFTER,
    InjectedFault.LOST_ANSWER,
    InjectedFault.ERROR,
)
RECEIVE = (
    InjectedFault.CRASH_AFTER,
    InjectedFault.PARK_AFTER,
    InjectedFault.ERROR,
    InjectedFault.REPEAT,
    InjectedFault.AHEAD,
    InjectedFault.BEHIND,
)
EFFECT = (
    InjectedFault.CRASH_BEFORE,
    InjectedFault.CRASH_AFTER,
    InjectedFault.PARK_BEFORE,
    InjectedFault.PARK_AFTER,
    InjectedFault.FAIL,
)


@frozen
class FaultRates:
    """What may go wrong with each kind of round trip.

    `release`: also where nothing but acknowledgements is written. `within`: between the parts of a write that is not
    atomic.
    """

    read: Sequence[InjectedFault] = READ
    write: Sequence[InjectedFault] = WRITE
    release: Sequence[InjectedFault] = WRITE
    receive: Sequence[InjectedFault] = RECEIVE
    effect: Sequence[InjectedFault] = EFFECT
    within: Sequence[InjectedFault] = ()


USUAL = FaultRates()


@frozen
class RoundTrip:
    """One round trip: what it is called in a timeline, what does it, and what may go wrong with it.

    `instead` does it where a fault asks for something else than an error: a repetition, a failure of the effect, the
    first half of a write.
    """

    label: str
    perform: Callable[[], Any]
    faults: Sequence[InjectedFault] = ()
    instead: Callable[[], Any] | None = None


@frozen
class Choice:
    """A fork of the task's own: which of `ways` it goes."""

    label: str
    ways: int


@frozen
class Idle:
    """There is nothing to do until something changes."""


@frozen
class Sleep:
    """There is nothing to do until `until`."""

    until: float


TaskStep: TypeAlias = RoundTrip | Choice | Idle | Sleep
Body: TypeAlias = Generator[TaskStep, Any, None]


@define(eq=False)
class Task:
    """Somebody who does one thing after another. `begin` starts it, and again after each crash.

    `skew` is how far its clock is off, and `told` when it last looked at it. `holds_until` is when the last of its
    leases ends. `wakes` is when a task that sleeps goes on. `parked` holds what it is to go on with, once it is let.
    """

    name: str
    start_body: Callable[[Task], Body]
    incarnation: int = 0
    skew: float = 0.0
    clock_read_at: float = 0.0
    holds_until: float = 0.0
    body: Body | None = None
    step: TaskStep | None = None
    idle: bool = False
    wakes_at: float | None = None
    parked: Callable[[], None] | None = None
    was_parked_until: float = 0.0

    @property
    def nonce(self) -> str:
        """A name for this life of the task."""
        return f"{self.name}.{self.incarnation}"

    @property
    def is_zombie(self) -> bool:
        """Whether it was parked past what it held, and goes on with it."""
        return self.was_parked_until > 0 and self.was_parked_until > self.holds_until


@define(eq=False)
class Scheduler:
    """Runs `tasks` until nothing is left to do. `time` is the backend's clock, and `move` brings it forward.

    `fell` is told when a backend raised what no backend may raise; whoever called it is lost, as a process would be.
    """

    choices: Choices
    time: Callable[[], float]
    tick: float
    lease: float
    advance: Callable[[float], None]
    on_crash: Callable[[str], None]
    tasks: list[Task] = field(factory=list[Task])
    when_quiescent: list[Callable[[], bool]] = field(factory=list["Callable[[], bool]"])
    timeline: list[str] = field(factory=list[str])
    marks: set[str] = field(factory=set[str])
    round_trips: int = 0
    current: Task | None = None
    epoch: float = field(default=Factory(lambda self: self.time(), takes_self=True), init=False)
    _deadlines: set[float] = field(factory=set[float], init=False)

    @property
    def now(self) -> float:
        """The backend's time, in seconds since the epoch."""
        return self.time()

    # What tasks and witnesses say

    def log(self, text: str) -> None:
        """A line of the timeline."""
        self.timeline.append(f"now={self.now - self.epoch:g} {text}")

    def mark(self, name: str) -> None:
        """Something that a guarantee needs to have seen has happened."""
        self.marks.add(name)

    def add_deadline(self, deadline: float) -> None:
        """Something may happen at `deadline`."""
        self._deadlines.add(deadline)

    def clock(self, task: Task) -> float:
        """What time it is for `task`."""
        return self.now + task.skew

    # The run

    def run(self) -> bool:
        """Go on until nothing is left to do; False if that never comes."""
        for task in self.tasks:
            self._start(task)
        while self.round_trips < MAX_ROUND_TRIPS:
            ready = self._ready()
            if not ready:
                if self._wake_blocked():
                    continue
                return True
            self._next(ready)
        return False

    def add(self, task: Task) -> None:
        """Let `task` take part from now on."""
        self.tasks.append(task)
        self._start(task)

    def wake_all(self) -> None:
        """Something has changed: whoever found nothing to do looks again."""
        for task in self.tasks:
            task.idle = False

    def _ready(self) -> list[Task]:
        ready = [task for task in self.tasks if self._is_ready(task)]
        if self.current in ready:
            ready.remove(self.current)
            ready.insert(0, self.current)
        return ready

    def _is_ready(self, task: Task) -> bool:
        return task.step is not None and task.parked is None and not task.idle and task.wakes_at is None

    def _next(self, ready: list[Task]) -> None:
        """Somebody goes on: the one that did, another, one that was parked; or the clock moves first."""
        parked = [task for task in self.tasks if task.parked]
        moves = self._moves()
        way = self.choices.choose(len(ready) + len(parked) + len(moves))
        if way < len(ready):
            self._run_step(ready[way])
        elif way < len(ready) + len(parked):
            self._unpark(parked[way - len(ready)])
        else:
            self._move_to(moves[way - len(ready) - len(parked)])

    def _wake_blocked(self) -> bool:
        """Nobody can go on: let time pass, or those who were parked go on; False if there is nothing left at all."""
        parked = [task for task in self.tasks if task.parked]
        sleeping = any(task.wakes_at is not None for task in self.tasks)
        waiting = [task for task in parked if self.now <= task.holds_until]
        moves = self._moves()
        if moves and (waiting or sleeping or not parked):
            self._move_to(moves[self.choices.choose(len(moves))])
            return True
        if parked:
            self._unpark(parked[self.choices.choose(len(parked))])
            return True
        return any(callback() for callback in self.when_quiescent)

    def _moves(self) -> list[float]:
        """To the next deadline, or just past it, or just short of it."""
        ahead = [deadline for deadline in self._deadlines if deadline > self.now]
        if not ahead:
            return []
        deadline = min(ahead)
        short = [deadline - self.tick] if deadline - self.tick > self.now else []
        return [deadline, deadline + self.tick, *short]

    def _move_to(self, moment: float) -> None:
        self.log(f"the clock moves on to {moment - self.epoch:g}")
        self.advance(moment - self.now)
        self._deadlines = {deadline for deadline in self._deadlines if deadline > moment}
        for task in self.tasks:
            if task.wakes_at is not None and task.wakes_at <= moment:
                task.wakes_at = None
        self.wake_all()

    # One task

    def _start(self, task: Task) -> None:
        task.incarnation += 1
        task.idle, task.wakes_at, task.parked = False, None, None
        task.skew, task.holds_until, task.was_parked_until = 0.0, 0.0, 0.0
        task.body = task.start_body(task)
        self._resume(task, lambda body: next(body))

    def kill(self, task: Task) -> None:
        """`task` is lost, wherever it is, and begins again."""
        self.log(f"{task.name} is ended")
        self._crash(task)

    def _crash(self, task: Task) -> None:
        assert task.body is not None
        self.mark("crash")
        body, task.body = task.body, None
        body.close()
        self._start(task)
        self.wake_all()

    def _resume(self, task: Task, how: Callable[[Body], TaskStep]) -> None:
        assert task.body is not None
        try:
            task.step = how(task.body)
        except StopIteration:
            task.step = None
            return
        if isinstance(task.step, Idle):
            task.idle = True
        if isinstance(task.step, Sleep):
            self.add_deadline(task.step.until)
            task.wakes_at = task.step.until if task.step.until > self.now else None

    def _run_step(self, task: Task) -> None:
        self.current = task
        self.round_trips += 1
        match task.step:
            case RoundTrip() as round_trip:
                self._perform(task, round_trip)
            case Choice(_, ways):
                way = self.choices.choose(ways)
                self._resume(task, lambda body: body.send(way))
            case Idle() | Sleep() | None:
                self._resume(task, lambda body: body.send(None))

    def _perform(self, task: Task, round_trip: RoundTrip) -> None:
        way = self.choices.choose(1 + len(round_trip.faults))
        fault = round_trip.faults[way - 1] if way else None
        match fault:
            case None:
                self._answer(task, round_trip.label, round_trip.perform)()
            case InjectedFault.CRASH_BEFORE:
                self._log_fault(task, fault, round_trip)
                self._crash(task)
            case InjectedFault.CRASH_AFTER:
                self._answer(task, round_trip.label, round_trip.perform)
                self._log_fault(task, fault, round_trip)
                self._crash(task)
            case InjectedFault.LOST_ANSWER:
                self._answer(task, round_trip.label, round_trip.perform)
                self._log_fault(task, fault, round_trip)
                self.mark("lost answer")
                self._throw(task, OutcomeUnknownError(f"{round_trip.label}: the answer was lost"))
            case InjectedFault.ERROR | InjectedFault.DENIED | InjectedFault.TOO_LARGE | InjectedFault.UNANSWERED:
                self._log_fault(task, fault, round_trip)
                self._throw(task, ERRORS[fault](f"{round_trip.label}: {fault}"))
            case InjectedFault.ERROR_WITHIN | InjectedFault.TOO_LARGE_WITHIN:
                self._log_fault(task, fault, round_trip)
                self._perform_first_half(
                    task, round_trip, lambda: self._throw(task, ERRORS[fault](f"{round_trip.label}: {fault}"))
                )
            case InjectedFault.CRASH_WITHIN:
                self._log_fault(task, fault, round_trip)
                self._perform_first_half(task, round_trip, lambda: self._crash(task))
            case InjectedFault.PARK_BEFORE:
                self._park(task, round_trip, lambda: self._answer(task, round_trip.label, round_trip.perform)(), fault)
            case InjectedFault.PARK_AFTER:
                self._park(task, round_trip, self._answer(task, round_trip.label, round_trip.perform), fault)
            case InjectedFault.REPEAT | InjectedFault.FAIL:
                self._log_fault(task, fault, round_trip)
                assert round_trip.instead is not None
                self._answer(task, round_trip.label, round_trip.instead)()
            case InjectedFault.AHEAD | InjectedFault.BEHIND:
                self._log_fault(task, fault, round_trip)
                self.mark("skew")
                task.skew = 1.5 * self.lease * (1 if fault is InjectedFault.AHEAD else -1)
                self._answer(task, round_trip.label, round_trip.perform)()
            case InjectedFault.BACK:
                self._log_fault(task, fault, round_trip)
                self.mark("skew")
                task.skew -= 1.5 * self.lease
                self._answer(task, round_trip.label, round_trip.perform)()

    def _log_fault(self, task: Task, fault: InjectedFault, round_trip: RoundTrip) -> None:
        self.log(f"{task.name} {fault} {round_trip.label}")

    def _answer(self, task: Task, label: str, perform: Callable[[], Any]) -> Callable[[], None]:
        """Do it now; what comes back goes on with the task."""
        try:
            answer = perform()
        except SettledError as error:
            self.log(f"{task.name} {label} -> {type(error).__name__}")
            caught = error
            return lambda: self._throw(task, caught)
        except Exception as error:
            self.on_crash(f"{label}: raised {type(error).__name__}: {error}, which is no error of the ports")
            return lambda: self._crash(task)
        return lambda: self._resume(task, lambda body: body.send(answer))

    def _perform_first_half(self, task: Task, round_trip: RoundTrip, then: Callable[[], None]) -> None:
        """The first half of it is done, unless that is refused already."""
        assert round_trip.instead is not None
        try:
            round_trip.instead()
        except SettledError as error:
            self._throw(task, error)
        else:
            then()

    def _throw(self, task: Task, error: SettledError) -> None:
        self._resume(task, lambda body: body.throw(error))

    def _park(self, task: Task, round_trip: RoundTrip, then: Callable[[], None], fault: InjectedFault) -> None:
        self._log_fault(task, fault, round_trip)
        self.mark("park")
        task.holds_until = max(task.holds_until, self.now)
        task.parked = then

    def _unpark(self, task: Task) -> None:
        then, task.parked = task.parked, None
        assert then is not None
        if self.now >= task.holds_until:
            task.was_parked_until = self.now
            self.mark("parked past its lease")
        self.log(f"{task.name} goes on")
        self.current = task
        then()
        self.wake_all()  # what it was told is old by now
