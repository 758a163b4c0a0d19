"""The config of an XState v5 machine, as data: the classes below are the schema that `config_reader` reads into.

Nothing is looked up here: whether a target exists is checked by `settled.chart.link`, whether a guard does by
`settled.chart.resolve`. Where XState takes one item or an array, `SingleOrArray` keeps which it was, because paths in
problems and in ids of inline functions show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from attrs import field, frozen

from settled.data import ABSENT

T = TypeVar("T")
NodeType: TypeAlias = Literal["atomic", "compound", "parallel", "final", "history"]


@frozen
class Named:
    """A reference to an implementation by its name. `params` is JSON, or a function of `Args`."""

    type: str
    params: Any = ABSENT


@frozen
class Inline:
    """An implementation in the config itself: a function, or what `assign`, `and_` and the like return."""

    implementation: Any


Reference: TypeAlias = Named | Inline


def name_of(reference: Reference) -> str:
    """Return the name of `reference` for diagrams and messages."""
    if isinstance(reference, Inline):
        return str(getattr(reference.implementation, "__name__", type(reference.implementation).__name__))
    return reference.type


@frozen
class SingleOrArray(Generic[T]):
    """One item, or an array of them if `was_array`."""

    items: tuple[T, ...] = ()
    was_array: bool = True

    def at(self, path: str) -> Iterator[tuple[str, T]]:
        """Yield each item with its own path; `path` is that of the item or array."""
        for index, item in enumerate(self.items):
            yield (f"{path}[{index}]" if self.was_array else path), item


EMPTY: SingleOrArray[Any] = SingleOrArray()


@frozen
class TransitionConfig:
    """A transition; without `target` it exits and enters nothing, and without any key it forbids the event."""

    target: SingleOrArray[str] | None = None
    guard: Reference | None = None
    actions: SingleOrArray[Reference] = EMPTY
    reenter: bool = False
    meta: Any = ABSENT
    description: str | None = None


@frozen
class InitialConfig:
    """The child that is entered by default, and the actions executed then."""

    target: str
    actions: SingleOrArray[Reference] = EMPTY
    meta: Any = ABSENT
    description: str | None = None


@frozen
class RouteConfig:
    """A transition to the node, by its `id`, from anywhere on the event ``xstate.route``."""

    guard: Reference | None = None
    actions: SingleOrArray[Reference] = EMPTY
    reenter: bool = False
    meta: Any = ABSENT
    description: str | None = None


@frozen
class InvokeConfig:
    """An actor that runs while its node is active."""

    src: Reference
    id: str | None = None
    system_id: str | None = field(default=None, alias="systemId")
    input: Any = ABSENT
    on_done: SingleOrArray[TransitionConfig] | None = field(default=None, alias="onDone")
    on_error: SingleOrArray[TransitionConfig] | None = field(default=None, alias="onError")
    on_snapshot: SingleOrArray[TransitionConfig] | None = field(default=None, alias="onSnapshot")
    meta: Any = ABSENT
    description: str | None = None


@frozen
class StateConfig:
    """A state node."""

    id: str | None = None
    type: NodeType | None = None
    initial: InitialConfig | None = None
    states: Mapping[str, StateConfig] = field(factory=dict[str, "StateConfig"])
    entry: SingleOrArray[Reference] = EMPTY
    exit: SingleOrArray[Reference] = EMPTY
    invoke: SingleOrArray[InvokeConfig] = EMPTY
    on: Mapping[str, SingleOrArray[TransitionConfig]] = field(factory=dict[str, SingleOrArray[TransitionConfig]])
    always: SingleOrArray[TransitionConfig] | None = None
    after: Mapping[str, SingleOrArray[TransitionConfig]] = field(factory=dict[str, SingleOrArray[TransitionConfig]])
    on_done: SingleOrArray[TransitionConfig] | None = field(default=None, alias="onDone")
    history: Literal["shallow", "deep"] | None = None
    target: SingleOrArray[str] | None = None
    route: RouteConfig | None = None
    output: Any = ABSENT
    tags: tuple[str, ...] = ()
    meta: Any = ABSENT
    description: str | None = None


@frozen
class OptionsConfig:
    """Options of a machine. `max_iterations` is the limit of microsteps that one event may cause."""

    max_iterations: int | None = field(default=None, alias="maxIterations")


@frozen
class MachineConfig:
    """A machine: its root node, and the keys only a root has; `fingerprint` is a SHA-256 of the source, in hex."""

    root: StateConfig
    id: str
    fingerprint: str
    version: str | None = None
    context: Any = ABSENT
    options: OptionsConfig = OptionsConfig()
