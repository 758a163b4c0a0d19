"""The config of an XState v5 machine, as data.

What a config may hold is written down once, in the classes below. Nothing is looked up here: whether a target or a
guard exists is for `compile` to say. Where XState takes one thing or an array of them, the config keeps which it was,
because a path names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from attrs import field, frozen

from settled.data import ABSENT

if TYPE_CHECKING:
    pass


T = TypeVar("T")
NodeType: TypeAlias = Literal["atomic", "compound", "parallel", "final", "history"]


@frozen
class Named:
    """A name that logic gives a meaning to. `params` is JSON, or a function of `Args`."""

    type: str
    params: Any = ABSENT


@frozen
class Inline:
    """What stands in a config in place of a name: a function, or what `assign`, `and_` and the like have made."""

    implementation: Any


Reference: TypeAlias = Named | Inline


def name_of(reference: Reference) -> str:
    """What to call `reference` in a message to people."""
    if isinstance(reference, Inline):
        return str(getattr(reference.implementation, "__name__", type(reference.implementation).__name__))
    return reference.type


@frozen
class SingleOrArray(Generic[T]):
    """One thing, or an array of them; `listed` says which it was."""

    items: tuple[T, ...] = ()
    listed: bool = True

    def at(self, path: str) -> Iterator[tuple[str, T]]:
        """Each item, with its own path if the whole stands at `path`."""
        for index, item in enumerate(self.items):
            yield (f"{path}[{index}]" if self.listed else path), item


EMPTY: SingleOrArray[Any] = SingleOrArray()


@frozen
class TransitionConfig:
    """A transition; without `target` it stays where it is, and without anything at all it forbids the event."""

    target: SingleOrArray[str] | None = None
    guard: Reference | None = None
    actions: SingleOrArray[Reference] = EMPTY
    reenter: bool = False
    meta: Any = ABSENT
    description: str | None = None


@frozen
class InitialConfig:
    """Which child is entered by default, and the actions of that default."""

    target: str
    actions: SingleOrArray[Reference] = EMPTY
    meta: Any = ABSENT
    description: str | None = None


@frozen
class RouteConfig:
    """Lets ``xstate.route`` enter the node from anywhere, by its `id`."""

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
    """How the machine is run. `max_iterations` bounds the microsteps of one event."""

    max_iterations: int | None = field(default=None, alias="maxIterations")


@frozen
class MachineConfig:
    """A whole machine: its root node, and what only a root has. `fingerprint` is of the config as it was given."""

    root: StateConfig
    id: str
    fingerprint: str
    version: str | None = None
    context: Any = ABSENT
    options: OptionsConfig = OptionsConfig()
