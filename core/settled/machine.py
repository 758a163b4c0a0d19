"""A compiled machine and its pure functions over snapshots. It performs no effects and keeps no instance state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, cast

from attrs import Factory, field, frozen

from settled.chart.args import Args
from settled.chart.chart import Chart
from settled.chart.config import MachineConfig
from settled.chart.implementations import ActionArgs, Actor, Call, Implementations, is_actor, is_machine, reasons
from settled.chart.migrations import keeps_timers, knows_version, migrate_snapshot
from settled.chart.program import Program
from settled.chart.snapshot import C, Snapshot, from_json, to_json
from settled.chart.snapshot_text import SnapshotText
from settled.chart.state_value import StateValue
from settled.data import ABSENT, FROZEN, MAX_EVENT_DEPTH, Json, freeze, is_object, parse, shortened
from settled.errors import EventError, LogicError, RecordError
from settled.step.effects import Effect, Execute
from settled.step.explain import explain
from settled.step.macrostep import ROUTE, initial_macrostep, initial_microsteps, macrostep, microsteps
from settled.step.plan_cache import PlanCache
from settled.step.selection import select
from settled.step.state import read_event

if TYPE_CHECKING:
    from settled.analysis.finding import Finding

_OBJECT = (dict, Mapping)  # nearly all are a dict, which is found faster

Microstep: TypeAlias = "tuple[Snapshot[C], tuple[Effect, ...]]"


@frozen(eq=False)
class Machine(Generic[C]):
    """A compiled machine: immutable, and shared by all its instances. `setup(...).machine(...)` makes it.

    Attributes:
        id: the id of the config's root; the first part of the key of each instance.
        version: the config's ``version``.
        fingerprint: the SHA-256 of the config, in hex.
        program: the chart with each of its names resolved to an implementation.
        chart: the nodes and transitions.
        implementations: the implementations given to `setup`.
        config: the config, as it was read.
        context: the config's own context.
        plan_cache: the microsteps that were planned so far.
        snapshot_text: reads and writes snapshots as text.
    """

    config: MachineConfig
    plan_cache: PlanCache
    context: C
    snapshot_text: SnapshotText
    # Computed once, as each step reads them.
    id: str = field(init=False, default=Factory(lambda machine: machine.config.id, takes_self=True))
    version: str | None = field(init=False, default=Factory(lambda machine: machine.config.version, takes_self=True))
    fingerprint: str = field(init=False, default=Factory(lambda machine: machine.config.fingerprint, takes_self=True))
    program: Program = field(init=False, default=Factory(lambda machine: machine.plan_cache.program, takes_self=True))
    chart: Chart = field(init=False, default=Factory(lambda machine: machine.plan_cache.program.chart, takes_self=True))
    implementations: Implementations = field(
        init=False, default=Factory(lambda machine: machine.plan_cache.program.implementations, takes_self=True)
    )

    def __repr__(self) -> str:
        return f"Machine({self.id!r})"

    def initial_transition(
        self, input: Json = None, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[C], tuple[Effect, ...]]:
        """Start the machine. Return its first snapshot and the effects, numbered from `first_index`.

        If anything raises, the snapshot has the status ``error`` and there are no effects. For `allow_unknown_targets`
        see `transition`.
        """
        return initial_macrostep(
            self.plan_cache, self.context, input, first_index, allow_unknown_targets=allow_unknown_targets
        )

    def transition(
        self, snapshot: Snapshot[C], event: object, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[C], tuple[Effect, ...]]:
        """Take `event`, a mapping with a ``type`` or an instance of a declared class.

        Return the next snapshot and the effects, numbered from `first_index`. If nothing takes the event, or the
        machine is not active, that is the same snapshot object and no effects.

        With `allow_unknown_targets`, the machine may send events to names that none of its actors has; the host that
        performs the effects has to resolve them. Without it, that raises, as in XState.

        Raises:
            LogicError: a guard, an action or a delay raised; `snapshot` stays in force.
            EventError: `event` is not an event.
        """
        plain: Any = event
        # Nearly always one of these, which need no call.
        if (event.__class__ is not dict and event.__class__ not in FROZEN) or type(plain.get("type")) is not str:
            plain = self._plain(event)
        return macrostep(self.plan_cache, snapshot, plain, first_index, allow_unknown_targets)

    def initial_microsteps(self, input: Json = None) -> tuple[Microstep[C], ...]:
        """Start the machine. Return the snapshot after each microstep, and its effects."""
        return initial_microsteps(self.plan_cache, self.context, input)

    def microsteps(self, snapshot: Snapshot[C], event: object) -> tuple[Microstep[C], ...]:
        """Take `event`. Return the snapshot after each microstep, and its effects.

        The final `Stop` effects of a machine that ends belong to no microstep and are left out.
        """
        return microsteps(self.plan_cache, snapshot, self._plain(event))

    def can(self, snapshot: Snapshot[C], event: object) -> bool:
        """Return whether a transition would take `event`, other than one that only forbids it."""
        plain = freeze(self._plain(event))
        args = Args(snapshot.context, read_event(self.program, plain), None, snapshot)
        candidates = self.plan_cache.reaction(snapshot.configuration, plain["type"]).candidates
        return any(not transition.is_forbidding for transition in select(self.program, candidates, plain, args))

    def explain(self, snapshot: Snapshot[C], event: object) -> str | None:
        """Return why `event` would change nothing; None if it would have an effect.

        The text names the guards that answered false, and the types of the events that are taken here. An event has an
        effect if a transition takes it (see `can`), or if an eventless one follows. The failure of an actor has one,
        too, although nothing takes it: it ends the machine.

        Raises:
            LogicError: a guard raised.
        """
        return explain(self.plan_cache, snapshot, self._plain(event))

    def resolve_state(self, value: StateValue, context: object = ABSENT) -> Snapshot[C]:
        """Return a snapshot in the state `value`, with defaults where it is partial, as if a step had just ended there.

        `context` is the config's own unless given.

        Raises:
            RecordError: there is no such state, or the context does not fit the declared class.
        """
        try:
            configuration = self.chart.resolve(value)
        except LookupError as error:
            raise RecordError(f"{error.args[0]} of the machine {self.id}") from error
        own = self.context if context is ABSENT else self._read_context(context)
        return Snapshot(configuration, own, "done" if configuration.is_final(self.chart.root) else "active")

    def to_json(self, snapshot: Snapshot[C]) -> dict[str, Json]:
        """Return `snapshot` in XState's persisted form.

        Raises:
            LogicError: the context is not JSON; the message says where in it.
        """
        return to_json(snapshot, self._convert(self.implementations.context_to_json, snapshot.context))

    def migrate(self, data: Mapping[str, Any], version: str | None) -> Mapping[str, Any]:
        """Convert a snapshot's JSON, written by the `version` of this machine, to the current version.

        The registered migrations from that version on are applied in order; if there are none, `data` is returned.

        Raises:
            LogicError: a migration raised.
        """
        return migrate_snapshot(self.implementations, self.id, data, version)

    def knows_version(self, version: str | None) -> bool:
        """Return whether `version` is this machine's own, one that a migration starts from, or None (unversioned)."""
        return knows_version(self.implementations, self.version, version)

    def keeps_timers(self, version: str | None) -> bool:
        """Return whether a migration on the way from `version` keeps the due times of running delays."""
        return keeps_timers(self.implementations, version)

    def from_json(self, data: Mapping[str, Any]) -> Snapshot[C]:
        """Read a snapshot that `to_json` or XState's ``getPersistedSnapshot`` has written.

        Raises:
            RecordError: `data` is not a snapshot of this machine; the message says where.
        """
        failed = is_object(data) and data.get("status") == "error"
        return from_json(self.chart, data, self._read_context_or_json if failed else self._read_context)

    def dump(self, snapshot: Snapshot[C]) -> str:
        """Return the text of `to_json`.

        Raises:
            LogicError: the context is not JSON.
        """
        return self.snapshot_text.write(snapshot)

    def load(self, text: str) -> Snapshot[C]:
        """Read a snapshot that `dump` has written.

        Raises:
            RecordError: `text` is not JSON, or not a snapshot of this machine.
        """
        # The fast path: it reads only text of configurations that it has learned below, and only as `dump` writes it.
        snapshot = self.snapshot_text.read(text)
        if snapshot is not None:
            return snapshot
        try:
            data = parse(text)
        except ValueError as error:
            raise RecordError(f"not JSON: {error}") from error
        snapshot = self.from_json(data)
        self.snapshot_text.learn(snapshot.configuration)
        return snapshot

    def check_event(self, event: object) -> Mapping[str, Json]:
        """Check an `event` from outside and return it as a JSON object.

        Raises:
            EventError: it has no type, is not JSON, is nested more than `MAX_EVENT_DEPTH` levels deep, does not fit the
                class declared for its type, or has a type that is reserved for the machine itself.
        """
        plain = self.implementations.event_to_json(event, MAX_EVENT_DEPTH)
        self.check_json_event(plain)
        return plain

    def check_json_event(self, event: Json) -> None:
        """Check an event from outside like `check_event`, which is JSON already.

        Raises:
            EventError: as `check_event` does.
        """
        type = event.get("type") if isinstance(event, Mapping) else None
        if not isinstance(type, str):
            raise EventError(f"an event is an object with a type, not {shortened(event)}")
        # A forged ``xstate.done.actor.*`` would pass for the result of an actor.
        if (type.startswith("xstate.") and type != ROUTE) or type == "*":
            raise EventError(f'an event from outside cannot have the type "{type}"')
        if self.implementations.events:
            self.implementations.check_event(cast("Mapping[str, Any]", event))

    def actor(self, src: str) -> Actor | Machine[Any]:
        """Return the actor registered as `src`: a machine, or an `Actor`, which wraps a plain function.

        Raises:
            LogicError: no actor has that name.
        """
        if src not in self.program.actors:
            raise LogicError(f'{self.id}: no actor is registered as "{src}"')
        found: Any = self.program.actors[src]
        if is_actor(found):
            return found
        return found if is_machine(found) else Actor(found)

    def check(self) -> tuple[Finding, ...]:
        """Return the mistakes found in the machine, in document order; ``docs/findings.md`` explains each finding."""
        # Imported here so that running a machine does not load the analysis.
        from settled.analysis.check import check  # noqa: PLC0415

        return check(self.chart, self.program)

    def bind(self, execute: Execute, snapshot: Snapshot[C], call: Call) -> Callable[[], object]:
        """Return the custom action of `execute` as a function without arguments, for a host to call.

        `snapshot` is the one after the step. The function returns the action's own result: a coroutine if it is async.

        Raises:
            LogicError: there is no such action any more, or its context or event no longer fits its declared class.
        """
        function = self.program.custom_actions.get(execute.type)
        if function is None:
            raise LogicError(f'{self.id}: no action is registered as "{execute.type}"')
        context, event, declared = execute.context, execute.event, self.implementations
        if declared.context is not dict:
            context = self._convert(declared.read_context, context)
        if declared.events:
            event = self._convert(declared.read_event, event)
        args: ActionArgs[Any] = ActionArgs(context, event, execute.params, snapshot, call)
        return partial(function, args)

    def _plain(self, event: object) -> Mapping[str, Any]:
        plain: Any = event
        if isinstance(event, _OBJECT) and isinstance(plain.get("type"), str):
            return plain  # type: ignore[no-any-return]
        return self.implementations.event_to_json(event)

    def _read_context(self, plain: object) -> C:
        try:
            return cast("C", self.implementations.read_context(plain))
        except Exception as error:
            raise RecordError(f"{self.id}: the context does not fit: {'; '.join(reasons(error, 'context'))}") from error

    def _read_context_or_json(self, plain: object) -> C:
        # A machine may be in error because its context never fitted the declared class; it must still be readable.
        try:
            return self._read_context(plain)
        except RecordError:
            return cast("C", plain)

    def _convert(self, convert: Callable[[Any], Any], value: object) -> Any:
        try:
            return convert(value)
        except Exception as error:
            raise LogicError(f"{self.id}: {error}") from error
