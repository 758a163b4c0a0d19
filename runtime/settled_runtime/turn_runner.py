"""The driver of a turn: it performs the command that the turn waits for, and sends the answer back in.

A turn (`settled.turn`) is a generator that decides and does no I/O. It fixes the order of everything that happens:
commit, then messages and timers, then actions, then the remaining acknowledgements. A crash between two of them leaves
the message in the queue and the outbox in the record, so that the next delivery repeats what is missing.

Its law: keep that order. Perform exactly the command that the turn waits for, answer it only when it is done, and never
perform anything ahead of it. An error that is settled's own (`SettledError`) is raised in the turn at the command that
failed, because only the turn knows what it means there: a conflict is computed again, a lost answer is looked up. Any
other error is a bug, and ends the turn. The leases of the deliveries are renewed for as long as the turn runs, and not
longer.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import cast

from settled import Key, LogicError, SettledError, TurnEnd, turn
from settled.durable import Delivery
from settled.durable.commands import (
    Answer,
    Command,
    Commands,
    Done,
    EndIsolation,
    Finish,
    Isolate,
    Isolated,
    PerformActions,
    Release,
    ReleaseReason,
    RunActors,
)
from settled_runtime.actor_threads import ActorThreads
from settled_runtime.effects import is_failure, perform_actions_blocking
from settled_runtime.events import SuspectIsolated, TurnEnded, TurnFailed, TurnStarted
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.host_context import HostContext
from settled_runtime.shutdown import StopSignal


class TurnRunner:
    """Runs one turn for the deliveries `held` of one key.

    Call `run`; or `resume` to begin it, and then `step` for each command, or `resume` with the outcome of `command`
    where it was performed elsewhere. An event loop, which must not wait for the queue, calls `advance` in place of
    `resume`, and `clean_up` in a thread once the turn is over. No two threads may use a runner at a time, but one may
    hand it to another.

    Args:
        context: the host's machines, backend and observers.
        held: the deliveries. Their leases are renewed while `run` runs; whoever calls `resume` sees to that.
        stop_signal: once it is set, running actors are abandoned and their messages released.
        deadline: when to do so even if the signal is not set, in seconds since the epoch by the backend's clock.

    Attributes:
        key: the instance whose turn it is.
        command: the command to be performed next; None before the beginning and once the turn is over.
        end: how the turn ended, or the error that ended it; None until then.
    """

    def __init__(
        self,
        context: HostContext,
        held: HeldDeliveries,
        stop_signal: StopSignal | None = None,
        deadline: float | None = None,
    ) -> None:
        self.key = held.key
        self.held = held
        self.command: Command | None = None
        self.end: TurnEnd | Exception | None = None
        self._context = context
        self._stop_signal = stop_signal
        self._deadline = deadline
        self._commands: Commands[TurnEnd] | None = None
        self._actors: ActorThreads | None = None

    def run(self) -> TurnEnd | Exception:
        """Run the turn to its end, and return how it ended or the error that ended it."""
        self._run()
        assert self.end is not None, "a turn without a command has ended"
        return self.end

    def run_beside_others(self) -> None:
        """Run the turn to its end, or to the point from which on it has to run alone, with `run`."""
        self._run(until=Isolate)

    def _run(self, until: type[Command] | None = None) -> None:
        if self.end is not None:
            return
        self._context.leases.renew(self.held)
        try:
            if self._commands is None:
                self.advance()
            while self.command is not None:
                if until is not None and isinstance(self.command, until):
                    return
                self.advance(self._perform(self.command))
            self.clean_up()
        except BaseException:
            # Ctrl-C. A program that goes on after it must not renew the leases for ever.
            self._context.leases.stop_renewing(self.held)
            self._context.gate.end(self)
            raise

    def step(self) -> None:
        """Perform the next command, if the turn is not over."""
        if self.command is not None:
            self.resume(self._perform(self.command))

    def resume(self, outcome: Answer | Exception | None = None) -> None:
        """Resume the turn like `advance`, and clean up if it is over."""
        self.advance(outcome)
        if self.command is None:
            self.clean_up()

    def advance(self, outcome: Answer | Exception | None = None) -> None:
        """Begin the turn, or resume it with the answer to `command` or the error of `command`. This does no I/O."""
        self.held.doing = "the machine's functions"
        self.held.steps += 1
        try:
            if self._commands is None:
                self._commands = self._begin()
            if isinstance(outcome, SettledError):
                self.command = self._commands.throw(outcome)
            elif isinstance(outcome, Exception):
                self.command, self.end = None, outcome
            else:
                if isinstance(self.command, Finish):
                    self._finished(self.command)
                elif isinstance(self.command, Release):
                    self.held.drop(self.command.deliveries)
                # A generator begins with None, and every answer but the first is one.
                self.command = self._commands.send(cast("Answer", outcome))
        except StopIteration as end:
            self.command, self.end = None, end.value
        except Exception as error:
            self.command, self.end = None, error
        except BaseException as error:
            if not is_failure(error):
                raise
            self.command, self.end = None, LogicError(f"{self.key}: {type(error).__name__}: {error}")
        self.held.doing = None
        if isinstance(self.command, Isolate):
            self._context.gate.ask(self, self.command.losses, self.command.seconds)

    def _begin(self) -> Commands[TurnEnd]:
        context, key = self._context, self.key
        context.observe(TurnStarted.of(key, self.held.deliveries))
        # The nonce is new for each turn and unguessable: a turn recognises its own commit by it when an answer was
        # lost. Two turns with one nonce would each take the other's commit for its own.
        nonce, cached = secrets.token_hex(8), context.record_cache.pop(key, context.clock)
        machine, policy, traits = context.machines.get(key.machine), context.policy, context.traits
        if machine is None:
            raise context.no_machine(key)
        return turn(machine, key, self.held.deliveries, nonce, policy, traits, cached, is_failure)

    def _finished(self, command: Finish) -> None:
        """Update the leases and the cache for `command`, which was performed."""
        write, record = command.write, command.record
        # Before the turn goes on: what was acknowledged must not be extended any more, or its missing lease would look
        # like a lost one.
        if write.acks:
            self.held.drop(write.acks)
        # Only after the commit: with a record that was never stored, the next turn would continue from a false state.
        if record is not None and command.version:
            self._context.record_cache.put(self.key, record, command.version)

    def _perform(self, command: Command) -> Answer | Exception:
        """Perform `command`, and return its answer or its error."""
        context = self._context
        try:
            if isinstance(command, PerformActions):
                return perform_actions_blocking(context, command, self.held)
            if isinstance(command, RunActors):
                # One object for the whole turn: actors that are still running from the last command go on.
                self._actors = self._actors or ActorThreads(context, self.held)
                return self._actors.run(command, self._stop_signal or StopSignal(), self._deadline)
            if isinstance(command, Isolate):
                return self.isolate(command)
            if isinstance(command, EndIsolation):
                return self.end_isolation()
            return context.backend_commands.perform(command)
        except Exception as error:
            return error

    def isolate(self, command: Isolate) -> Isolated:
        """Wait until no other turn runs, as `command` says."""
        context, seconds = self._context, command.seconds
        if self._deadline is not None:
            seconds = min(seconds, 2 * (self._deadline - context.clock()))
        is_alone, is_stopping = context.gate.isolate(self, max(0.0, seconds), self._stop_signal or StopSignal())
        if is_alone:
            context.observe(SuspectIsolated(self.key, command.message_id))
        return Isolated(is_alone, context.clock(), is_stopping)

    def end_isolation(self) -> Done:
        """Let other turns begin again."""
        self._context.gate.end_isolation(self)
        return Done(self._context.clock())

    def put_back(self) -> None:
        """End the turn, which has performed no effect yet, and release its deliveries for another thread or worker."""
        if self._commands is not None:
            self._commands.close()
        self.command, self.end = None, TurnEnd.RELEASED
        self._context.gate.end(self)
        self._context.release(self.held, ReleaseReason.BUSY)

    def clean_up(self) -> None:
        """Stop renewing the leases, and release the deliveries if the turn ended with an error."""
        context, end = self._context, self.end
        context.gate.end(self)
        if isinstance(end, Exception):
            context.observe(TurnFailed(self.key, end))
            context.release(self.held, ReleaseReason.ERROR, end)
        elif end is not None:
            # Only now: until its last command is done the turn may commit or acknowledge, and for that its leases must
            # not run out. A delivery that it did not acknowledge was released, or belongs to another worker.
            context.leases.stop_renewing(self.held)
            context.observe(TurnEnded(self.key, end))


def by_key(deliveries: Iterable[Delivery]) -> Iterable[Sequence[Delivery]]:
    """Group `deliveries` by key, keeping their order."""
    groups: dict[Key, list[Delivery]] = {}
    for delivery in deliveries:
        groups.setdefault(delivery.message.key, []).append(delivery)
    return groups.values()


def turns_for(
    context: HostContext,
    deliveries: Iterable[Delivery],
    stop_signal: StopSignal | None = None,
    deadline: float | None = None,
) -> Sequence[TurnRunner]:
    """Return a turn for each key of `deliveries`, not begun yet; until it begins, its leases are not renewed."""
    groups = by_key(deliveries)
    return [
        TurnRunner(context, HeldDeliveries(group[0].message.key, tuple(group)), stop_signal, deadline)
        for group in groups
    ]


def time_at_the_gate(context: HostContext, deadline: float | None) -> float:
    """Return for how many seconds turns may wait until they may begin."""
    lease = context.backend.lease.total_seconds()
    return lease if deadline is None else max(0.0, min(lease, deadline - context.clock()))


def run_turns(
    context: HostContext,
    deliveries: Iterable[Delivery],
    stop_signal: StopSignal | None = None,
    deadline: float | None = None,
) -> Mapping[Key, TurnEnd | Exception]:
    """Run the turns for `deliveries`, one after the other, and return how each ended; arguments as for `Host.handle`.

    Those that have to run alone come last, the least suspicious first.
    """
    turns, gate = turns_for(context, deliveries, stop_signal, deadline), context.gate
    is_admitted = gate.admit(turns) or (
        gate.wait_until_open(time_at_the_gate(context, deadline), stop_signal) and gate.admit(turns)
    )
    ends: dict[Key, TurnEnd | Exception] = {}
    suspects: list[tuple[int, TurnRunner]] = []
    try:
        for turn in turns:
            if not is_admitted:
                turn.put_back()
            turn.run_beside_others()
            if isinstance(turn.command, Isolate):
                suspects.append((turn.command.losses, turn))
            elif turn.end is not None:
                ends[turn.key] = turn.end
        for _, turn in sorted(suspects, key=itemgetter(0)):
            ends[turn.key] = turn.run()
    except BaseException:
        for turn in turns:
            gate.end(turn)
        raise
    return ends
