"""A snapshot: the complete state of a machine between steps, as plain data.

Its JSON is XState's persisted snapshot, so a machine that stopped here can continue under Node, and the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeAlias, get_args

from attrs import field, frozen
from typing_extensions import TypeVar

from settled._fast_frozen import MutableWhileBuilding
from settled.chart.chart import Chart, Configuration
from settled.chart.frozen_context import freeze_context
from settled.chart.nodes import in_document_order
from settled.chart.state_value import StateValue, value_matches
from settled.data import ABSENT, Json, freeze, is_array, is_object
from settled.errors import RecordError

C = TypeVar("C", default=Mapping[str, Any])
"""The type of a context: a JSON object, unless `setup` is given a class."""

Status: TypeAlias = Literal["active", "done", "error", "stopped"]
ChildStatus: TypeAlias = Literal["active", "done", "error"]


@frozen
class Child:
    """An actor that this machine started: its source, input and status.

    `output` and `error` are ABSENT until there is one. `sync` is whether the machine gets its snapshots as events.
    """

    src: str
    system_id: str | None = None
    status: ChildStatus = "active"
    output: Any = field(default=ABSENT, converter=freeze)
    error: Any = field(default=ABSENT, converter=freeze)
    input: Any = field(default=ABSENT, converter=freeze)
    sync: bool = False


def read_only(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `value` as a mapping that cannot be changed."""
    return value if isinstance(value, MappingProxyType) else MappingProxyType(dict(value))


NO_CHILDREN: Final[Mapping[str, Child]] = MappingProxyType({})
NO_HISTORY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


@frozen
class Snapshot(Generic[C]):
    """The state of a machine. `children` are its actors by id; `history` the recorded node ids by that of the history.

    `output` and `error` are ABSENT while there is none: None is a possible output. None of it can be changed.
    """

    configuration: Configuration = field(repr=lambda configuration: repr(configuration.value))
    context: C = field(converter=freeze_context)
    status: Status = "active"
    output: Any = field(default=ABSENT, converter=freeze)
    error: Any = field(default=ABSENT, converter=freeze)
    children: Mapping[str, Child] = field(default=NO_CHILDREN, converter=read_only)
    history: Mapping[str, tuple[str, ...]] = field(default=NO_HISTORY, converter=read_only)

    @property
    def value(self) -> StateValue:
        """The active states in XState's form: a key, or keys within keys."""
        return self.configuration.value

    @property
    def tags(self) -> frozenset[str]:
        """The tags of all active states."""
        return self.configuration.tags

    @property
    def meta(self) -> Mapping[str, Any]:
        """The meta of the active states that have any, by id."""
        return self.configuration.meta

    def matches(self, value: StateValue) -> bool:
        """Return whether the machine is in `value`: a state value, complete or partial, or a dotted path."""
        return value_matches(value, self.configuration.value)

    def has_tag(self, tag: str) -> bool:
        """Return whether an active state has `tag`."""
        return tag in self.configuration.tags


class NewSnapshot(MutableWhileBuilding, Snapshot[Any]):
    """A faster constructor of `Snapshot`, for data that is frozen already; see `settled._fast_frozen`."""

    __slots__ = ()

    def __init__(
        self: Any,
        configuration: Configuration,
        context: object,
        status: Status,
        output: object,
        error: object,
        children: Mapping[str, Child],
        history: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.configuration = configuration
        self.context = context
        self.status = status
        self.output = output
        self.error = error
        self.children = children
        self.history = history
        self.__class__ = Snapshot


def to_json(snapshot: Snapshot[Any], context: Json) -> dict[str, Json]:
    """Return XState's persisted form of `snapshot`; `context` is the JSON of its context."""
    return {
        "status": snapshot.status,
        **_present(output=snapshot.output, error=snapshot.error),
        # A machine that failed at its start has only its root active: its value is {}, without the default entry.
        "value": snapshot.value if len(snapshot.configuration.nodes) > 1 else {},
        "context": context,
        "children": {id: _child_to_json(child) for id, child in snapshot.children.items()},
        "historyValue": {id: [{"id": node} for node in nodes] for id, nodes in snapshot.history.items()},
    }


def from_json(chart: Chart, data: object, read_context: Callable[[Any], C]) -> Snapshot[C]:
    """Return the snapshot of `chart` that `to_json` or XState persisted as `data`.

    Raises:
        RecordError: `data` is not a snapshot of this chart; the message says where.
    """
    whole = _object(data, "snapshot")
    return Snapshot(
        configuration=_configuration(chart, whole),
        context=read_context(whole.get("context", {})),
        status=_one_of(whole.get("status"), get_args(Status), "status"),
        output=whole.get("output", ABSENT),
        error=whole.get("error", ABSENT),
        children=_children(_object(whole.get("children", {}), "children")),
        history=_history(chart, _object(whole.get("historyValue", {}), "historyValue")),
    )


def _present(**values: Any) -> dict[str, Json]:
    return {key: value for key, value in values.items() if value is not ABSENT}


def _child_to_json(child: Child) -> dict[str, Json]:
    return {
        "snapshot": {
            "status": child.status,
            **_present(output=child.output, error=child.error, input=child.input),
        },
        "src": child.src,
        **({} if child.system_id is None else {"systemId": child.system_id}),
        "syncSnapshot": child.sync,
    }


def _configuration(chart: Chart, data: Mapping[str, Any]) -> Configuration:
    if "value" not in data:
        raise RecordError("snapshot.value is missing")
    if data["value"] == {}:  # see `to_json`; completing it by default would enter states
        return chart.configuration([chart.root])
    try:
        return chart.resolve(data["value"])
    except LookupError as error:
        raise RecordError(f"snapshot.value: {error.args[0]} of the machine {chart.id}") from error


def _children(data: Mapping[str, Any]) -> Mapping[str, Child]:
    return {id: _child(_object(item, f"children.{id}"), id) for id, item in data.items()} or NO_CHILDREN


def _child(data: Mapping[str, Any], id: str) -> Child:
    inner = _object(data.get("snapshot", {}), f"children.{id}.snapshot")
    if not isinstance(data.get("src"), str):
        raise RecordError(f"snapshot.children.{id}.src: expected the name of an actor")
    return Child(
        src=data["src"],
        system_id=data.get("systemId"),
        status=_one_of(inner.get("status"), get_args(ChildStatus), f"children.{id}.snapshot.status"),
        output=inner.get("output", ABSENT),
        error=inner.get("error", ABSENT),
        input=inner.get("input", ABSENT),
        sync=bool(data.get("syncSnapshot", False)),
    )


def _history(chart: Chart, data: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    return {_known_id(chart, id): _recorded_ids(chart, id, nodes) for id, nodes in data.items()} or NO_HISTORY


def _recorded_ids(chart: Chart, id: str, nodes: Any) -> tuple[str, ...]:
    if not is_array(nodes):
        raise RecordError(f"snapshot.historyValue.{id}: expected an array")
    ids = [_object(item, f"historyValue.{id}").get("id") for item in nodes]
    return tuple(node.id for node in in_document_order(chart.ids[_known_id(chart, each)] for each in ids))


def _known_id(chart: Chart, id: Any) -> str:
    if id not in chart.ids:
        raise RecordError(f"snapshot.historyValue: no state with the id {id!r} in the machine {chart.id}")
    return str(id)


def _object(data: object, path: str) -> Mapping[str, Any]:
    if not is_object(data):
        raise RecordError(f"{path}: expected an object, not {type(data).__name__}")
    return data


def _one_of(value: Any, known: tuple[Any, ...], path: str) -> Any:
    if value not in known:
        raise RecordError(f"snapshot.{path}: {value!r} is not one of {', '.join(known)}")
    return value
