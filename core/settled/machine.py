"""The machine that people hold: a config, its logic, and the pure functions over its snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.args import Args
from settled.chart.chart import Chart
from settled.chart.config import MachineConfig
from settled.chart.implementations import ActionArgs, Actor, Call, Implementations, is_machine, reasons
from settled.chart.migrations import keeps_timers, knows_version, migrated
from settled.chart.program import Program
from settled.chart.snapshot import Snapshot, from_json, to_json
from settled.chart.snapshot_text import SnapshotText
from settled.chart.state_value import StateValue
from settled.data import ABSENT, Json, is_object, parse
from settled.errors import EventError, LogicError, RecordError
from settled.step.effects import Effect, Execute
from settled.step.macrostep import ROUTE, initial_macrostep, initial_microsteps, macrostep, microsteps
from settled.step.plan_cache import PlanCache
from settled.step.selection import select
from settled.step.state import read_event

if TYPE_CHECKING:
    from settled.analysis.finding import Finding


C = TypeVar("C")
E = TypeVar("E")
Microstep: TypeAlias = "tuple[Snapshot[C], tuple[Effect, ...]]"


@frozen(eq=False)
class Machine(Generic[C, E]):
    """A compiled machine: immutable, and shared by all its instances. `setup` makes it."""

    config: MachineConfig
    plan_cache: PlanCache
    context: C
    snapshot_text: SnapshotText

    def __repr__(self) -> str:
        return f"Machine({self.id!r})"

    @property
    def id(self) -> str:
        """The id of the root, by which instances are found."""
        return self.config.id

    @property
    def version(self) -> str | None:
        """The config's own ``version``."""
        return self.config.version

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of the config, in hex: another config, another fingerprint."""
        return self.config.fingerprint

    @property
    def program(self) -> Program:
        """The chart, each of whose names has its meaning."""
        return self.plan_cache.program

    @property
    def chart(self) -> Chart:
        """The nodes and transitions."""
        return self.program.chart

    @property
    def logic(self) -> Implementations:
        """What was handed to `setup`."""
        return self.plan_cache.program.implementations

    def without_plans(self) -> Machine[C, E]:
        """This machine, but working out afresh what each step consists of: slower, and otherwise the same."""
        return evolve(self, plan_cache=PlanCache(self.program, limit=0))

    def initial_transition(
        self, input: Json = None, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[C], tuple[Effect, ...]]:
        """Start the machine: its first snapshot, and the effects of getting there, numbered from `first_index`.

        What raises at the start gives a snapshot whose status is ``error``, and no effects.
        """
        return initial_macrostep(
            self.plan_cache, self.context, input, first_index, allow_unknown_targets=allow_unknown_targets
        )

    def transition(
        self, snapshot: Snapshot[C], event: object, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[C], tuple[Effect, ...]]:
        """Take `event`, a mapping with a ``type`` or an instance of a declared class.

        If nothing takes it, or the machine is not active, the very same snapshot comes back, and no effects. With
        `elsewhere`, an event may be sent to a name that none of this machine's actors has, and whoever performs the
        effect must know it; without, that raises, as in XState.

        Raises:
            LogicError: a guard, an action or a delay raised; `snapshot` stands.
            EventError: `event` is no event.
        """
        return macrostep(self.plan_cache, snapshot, self._plain(event), first_index, allow_unknown_targets)

    def initial_microsteps(self, input: Json = None) -> tuple[Microstep[C], ...]:
        """The start, microstep by microstep: the snapshot after each, and its effects."""
        return initial_microsteps(self.plan_cache, self.context, input)

    def microsteps(self, snapshot: Snapshot[C], event: object) -> tuple[Microstep[C], ...]:
        """What `transition` does, microstep by microstep. Stopping the actors of a machine that ended is not shown."""
        return microsteps(self.plan_cache, snapshot, self._plain(event))

    def can(self, snapshot: Snapshot[C], event: object) -> bool:
        """Whether `event` would be taken by a transition that does anything."""
        plain = self._plain(event)
        args = Args(snapshot.context, read_event(self.program, plain), snapshot)
        offer = self.plan_cache.reaction(snapshot.configuration, plain["type"]).candidates
        return any(not transition.is_forbidding for transition in select(self.program, offer, plain, args))

    def resolve_state(self, value: StateValue, context: object = ABSENT) -> Snapshot[C]:
        """A snapshot in `value`, completed by default, as if the machine had just come to rest there.

        Without `context` it is the config's own.

        Raises:
            RecordError: there is no such state, or the context does not fit.
        """
        try:
            configuration = self.chart.resolve(value)
        except LookupError as error:
            raise RecordError(f"{error.args[0]} of the machine {self.id}") from error
        own = self.context if context is ABSENT else self._read_context(context)
        return Snapshot(configuration, own, "done" if configuration.is_final(self.chart.root) else "active")

    def to_json(self, snapshot: Snapshot[C]) -> dict[str, Json]:
        """`snapshot` in XState's persisted form.

        Raises:
            LogicError: the context is not JSON; the message says where in it.
        """
        return to_json(snapshot, self._named(self.logic.context_to_json, snapshot.context))

    def migrate(self, data: Mapping[str, Any], version: str | None) -> Mapping[str, Any]:
        """A snapshot's JSON, written by this machine's `version`, as the present version would have written it.

        The registered migrations from that version on are applied in their order; with none of them, `data` stays.

        Raises:
            LogicError: a migration raised.
        """
        return migrated(self.logic, self.id, data, version)

    def knows_version(self, version: str | None) -> bool:
        """Whether it is this machine's own, one that its migrations start from, or from before there were versions."""
        return knows_version(self.logic, self.version, version)

    def keeps_timers(self, version: str | None) -> bool:
        """Whether a migration on the way from `version` lets running delays keep their time."""
        return keeps_timers(self.logic, version)

    def from_json(self, data: Mapping[str, Any]) -> Snapshot[C]:
        """The snapshot that `to_json`, or XState's ``getPersistedSnapshot``, has written.

        Raises:
            RecordError: it is none of this machine; the message says where.
        """
        failed = is_object(data) and data.get("status") == "error"
        return from_json(self.chart, data, self._read_last_context if failed else self._read_context)

    def dump(self, snapshot: Snapshot[C]) -> str:
        """`to_json` as text."""
        try:
            return self.snapshot_text.write(snapshot)
        except Exception as error:
            raise LogicError(f"{self.id}: {error}") from error

    def load(self, text: str) -> Snapshot[C]:
        """The snapshot that `dump` has written.

        Raises:
            RecordError: `text` is no JSON, or no snapshot of this machine.
        """
        known = self.snapshot_text.read(text)
        if known is not None:
            return known
        try:
            data = parse(text)
        except ValueError as error:
            raise RecordError(f"not JSON: {error}") from error
        snapshot = self.from_json(data)
        self.snapshot_text.learn(snapshot.configuration)
        return snapshot

    def admit(self, event: object) -> Mapping[str, Json]:
        """`event`, which comes from outside, as a JSON object this machine can be sent.

        Raises:
            EventError: it has no type, is not JSON, does not fit the class declared for its type, or takes a name
                that only the machine itself may use.
        """
        plain = self.logic.event_to_json(event)
        type = cast("str", plain["type"])
        if (type.startswith("xstate.") and type != ROUTE) or type == "*":
            raise EventError(f'an event from outside cannot have the type "{type}"')
        self.logic.admit(plain)
        return plain

    def actor(self, src: str) -> Actor | Machine[Any, Any]:
        """What `src` names, a function always as an `Actor`.

        Raises:
            LogicError: no actor has that name.
        """
        if src not in self.program.actors:
            raise LogicError(f'{self.id}: no actor is registered as "{src}"')
        found: Any = self.program.actors[src]
        if isinstance(found, Actor):
            return found
        return found if is_machine(found) else Actor(found)

    def check(self) -> tuple[Finding, ...]:
        """What is surely wrong with the machine, in document order; ``docs/findings.md`` explains each finding."""
        # Who only runs a machine need not load what looks for its faults.
        from settled.analysis.check import check  # noqa: PLC0415

        return check(self.chart, self.program)

    def bind(self, execute: Execute, snapshot: Snapshot[C], call: Call) -> Callable[[], object]:
        """The custom action of `execute` as a function without arguments, for a host to call.

        `snapshot` is the one after the step. The call returns whatever the action does: a coroutine, if it is async.

        Raises:
            LogicError: there is no such action any more, or its context or event no longer fits.
        """
        function = self.program.customs.get(execute.type)
        if function is None:
            raise LogicError(f'{self.id}: no action is registered as "{execute.type}"')
        args: ActionArgs[Any, Any] = ActionArgs(
            context=self._named(self.logic.read_context, execute.context),
            event=self._named(self.logic.read_event, execute.event),
            state=snapshot,
            call=call,
        )
        return lambda: function(args, execute.params)

    def _plain(self, event: object) -> Mapping[str, Any]:
        if is_object(event) and isinstance(event.get("type"), str):
            return event
        return self.logic.event_to_json(event)

    def _read_context(self, plain: object) -> C:
        try:
            return cast("C", self.logic.read_context(plain))
        except Exception as error:
            raise RecordError(f"{self.id}: the context does not fit: {'; '.join(reasons(error, 'context'))}") from error

    def _read_last_context(self, plain: object) -> C:
        """The context of a machine that is in error, perhaps because there never was a fitting one."""
        try:
            return self._read_context(plain)
        except RecordError:
            return cast("C", plain)

    def _named(self, convert: Callable[[Any], Any], value: object) -> Any:
        try:
            return convert(value)
        except Exception as error:
            raise LogicError(f"{self.id}: {error}") from error
