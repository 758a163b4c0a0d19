"""`Scheduler`: runs the tasks of a simulation, one round trip at a time, and decides order, time and faults by choices.

A task is a generator that yields each `RoundTrip` before it is made. So the scheduler can crash or park a task before
or after it, run other tasks in between, and let hours pass. Virtual time moves only here, to the next known deadline or
one tick to either side of it: off-by-one errors about time show only there.

A run is reproducible because everything here is decided by `Choices`, in a fixed order. Adding, removing or reordering
a call of `choose`, or iterating over an unordered collection before one, changes what every replay token means.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import Factory, define, field, frozen

from settled import AccessDeniedError, OutcomeUnknownError, SettledError, TooLargeError, UnavailableError
from settled_conformance.simulator.choices import Choices

MAX_ROUND_TRIPS = 4_000
"""The maximum number of round trips of a run; one that takes more is reported as never coming to rest (L1)."""


class InjectedFault(StrEnum):
    """The faults that can be injected into a round trip. The values read as a verb in a timeline."""

    CRASH_BEFORE = "crashes before"
    CRASH_AFTER = "crashes after"
    LOST_ANSWER = "loses the answer of"
    ERROR = "is refused"
    PARK_BEFORE = "parks before"
    PARK_AFTER = "parks after"
    REPEAT = "is redelivered what it had acknowledged, by"
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
"""The errors raised in place of an answer. Nothing was done; for the ``_WITHIN`` faults, only the first half."""


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
class PossibleFaults:
    """The faults that may be injected into each kind of round trip.

    `release` applies to acknowledgements alone, too. `within` applies between the parts of a write that is not atomic.
    """

    read: Sequence[InjectedFault] = READ
    write: Sequence[InjectedFault] = WRITE
    release: Sequence[InjectedFault] = WRITE
    receive: Sequence[InjectedFault] = RECEIVE
    effect: Sequence[InjectedFault] = EFFECT
    within: Sequence[InjectedFault] = ()


USUAL = PossibleFaults()


@frozen
class RoundTrip:
    """A round trip that a task is about to make: its label in the timeline, its function, and its possible faults.

    `instead` is called in place of `perform` for faults that are not errors: a redelivery (`REPEAT`), a failing effect
    (`FAIL`), or the first half of a write (the ``_WITHIN`` faults). One that `kills` always ends its task.
    """

    label: str
    perform: Callable[[], Any]
    faults: Sequence[InjectedFault] = ()
    instead: Callable[[], Any] | None = None
    kills: bool = False


@frozen
class Choice:
    """A decision of the task itself; it is sent the number of the option, below `options`."""

    label: str
    options: int


@frozen
class Idle:
    """The task waits until something changes."""


@frozen
class Sleep:
    """The task sleeps until the time `until`."""

    until: float


TaskStep: TypeAlias = RoundTrip | Choice | Idle | Sleep
Body: TypeAlias = Generator[TaskStep, Any, None]


@define(eq=False)
class Task:
    """A simulated process. `start_body` creates its generator, initially and again after each crash.

    `incarnation` counts these starts. `skew` is the error of its clock in seconds, `clock_read_at` the true time of
    its last reading. `holds_until` is the end of its last lease. `wakes_at` is the end of its sleep. `parked` is the
    continuation of a task that is frozen in the middle of a round trip.
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
        """A name for this incarnation of the task."""
        return f"{self.name}.{self.incarnation}"

    @property
    def is_stale(self) -> bool:
        """Whether the task was parked past the end of its leases, and still works on what it received under them."""
        return self.was_parked_until > 0 and self.was_parked_until > self.holds_until


@define(eq=False)
class Scheduler:
    """Runs `tasks` until nothing is left to do. `time` reads the backend's clock, `advance` moves it forward.

    `on_crash` is called when a backend raised an error that no port may raise; the task crashes, as a process would.
    The functions in `when_quiescent` are called when no task can go on, and return whether they gave them work.
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

    # Timeline

    def log(self, text: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append(f"now={self.now - self.epoch:g} {text}")

    def mark(self, name: str) -> None:
        """Record that a situation occurred that some guarantee must have been tested in."""
        self.marks.add(name)

    def add_deadline(self, deadline: float) -> None:
        """Add a time at which something may happen, so that the clock can be moved to it."""
        self._deadlines.add(deadline)

    def clock(self, task: Task) -> float:
        """Return the time by the clock of `task`."""
        return self.now + task.skew

    # The run

    def run(self) -> bool:
        """Run until nothing is left to do; return False if that takes more than `MAX_ROUND_TRIPS`."""
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
        """Start another task."""
        self.tasks.append(task)
        self._start(task)

    def wake_all(self) -> None:
        """Make every idle task ready: something has changed that it may be waiting for."""
        for task in self.tasks:
            task.idle = False

    def _ready(self) -> list[Task]:
        ready = [task for task in self.tasks if self._is_ready(task)]
        # The current task first: the default option, 0, is then to continue it, so the default run is the one with the
        # fewest switches, and each deviation is a preemption.
        if self.current in ready:
            ready.remove(self.current)
            ready.insert(0, self.current)
        return ready

    def _is_ready(self, task: Task) -> bool:
        return task.step is not None and task.parked is None and not task.idle and task.wakes_at is None

    def _next(self, ready: list[Task]) -> None:
        """Choose what happens next: a ready task runs, a parked one resumes, or the clock moves."""
        parked = [task for task in self.tasks if task.parked]
        moves = self._moves()
        option = self.choices.choose(len(ready) + len(parked) + len(moves))
        if option < len(ready):
            self._run_step(ready[option])
        elif option < len(ready) + len(parked):
            self._unpark(parked[option - len(ready)])
        else:
            self._move_to(moves[option - len(ready) - len(parked)])

    def _wake_blocked(self) -> bool:
        """With no task ready, move the clock, resume a parked task, or ask `when_quiescent`; return False at the end.

        The clock comes before parked tasks whose leases run: by default a parked task outlasts its lease, and so
        becomes a stale worker.
        """
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
        """Return the times to which the clock may move: the next deadline, one tick after it, one tick before it."""
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
        """Crash `task` wherever it is; it starts again."""
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
            case Choice(_, options):
                option = self.choices.choose(options)
                self._resume(task, lambda body: body.send(option))
            case Idle() | Sleep() | None:
                self._resume(task, lambda body: body.send(None))

    def _perform(self, task: Task, round_trip: RoundTrip) -> None:
        if round_trip.kills:
            self._answer(task, round_trip.label, round_trip.perform)
            self.log(f"{task.name} is ended by {round_trip.label}")
            return self._crash(task)
        option = self.choices.choose(1 + len(round_trip.faults))
        fault = round_trip.faults[option - 1] if option else None
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
                # Made when the task resumes, against whatever the state is by then.
                self._park(task, round_trip, lambda: self._answer(task, round_trip.label, round_trip.perform)(), fault)
            case InjectedFault.PARK_AFTER:
                # Made now; only its answer is delivered when the task resumes.
                self._park(task, round_trip, self._answer(task, round_trip.label, round_trip.perform), fault)
            case InjectedFault.REPEAT | InjectedFault.FAIL:
                self._log_fault(task, fault, round_trip)
                assert round_trip.instead is not None
                self._answer(task, round_trip.label, round_trip.instead)()
            case InjectedFault.AHEAD | InjectedFault.BEHIND:
                self._log_fault(task, fault, round_trip)
                self.mark("clock skew")
                task.skew = 1.5 * self.lease * (1 if fault is InjectedFault.AHEAD else -1)
                self._answer(task, round_trip.label, round_trip.perform)()
            case InjectedFault.BACK:
                self._log_fault(task, fault, round_trip)
                self.mark("clock skew")
                task.skew -= 1.5 * self.lease
                self._answer(task, round_trip.label, round_trip.perform)()

    def _log_fault(self, task: Task, fault: InjectedFault, round_trip: RoundTrip) -> None:
        self.log(f"{task.name} {fault} {round_trip.label}")

    def _answer(self, task: Task, label: str, perform: Callable[[], Any]) -> Callable[[], None]:
        """Make the round trip now; return a function that resumes the task with the answer or the error."""
        try:
            answer = perform()
        except SettledError as error:
            self.log(f"{task.name} {label} -> {type(error).__name__}")
            caught = error  # `error` is unbound at the end of the clause
            return lambda: self._throw(task, caught)
        except Exception as error:
            self.on_crash(f"{label}: raised {type(error).__name__}: {error}, which is no error of the ports")
            return lambda: self._crash(task)
        return lambda: self._resume(task, lambda body: body.send(answer))

    def _perform_first_half(self, task: Task, round_trip: RoundTrip, then: Callable[[], None]) -> None:
        """Do the first half of a write, then `then`; if the first half fails, the task gets its error."""
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
        self.wake_all()  # an answer that the task received before it was parked is out of date now
