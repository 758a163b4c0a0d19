"""Effects: the side effects that a step requests.

An effect is data: it can be stored, compared, sent, and read by an operator. It cannot be changed, and never holds a
function. Code that
performs effects matches over all of them and ends in ``assert_never``, so a new kind fails the type check in every
place that must handle it.

`index` counts the effects of one turn in XState's order; it is the last part of an effect's idempotency key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from settled._fast_frozen import MutableWhileBuilding
from settled.data import Json, freeze

TargetKind: TypeAlias = Literal["child", "starting", "external"]
"""A running child, a child that the node being entered is about to start, or none of the machine's children: itself,
its parent, or another instance."""


@frozen
class Execute:
    """Run the custom action `type`. `context` and `event` are those at the action's own position in the step."""

    index: int
    type: str
    params: Json = field(converter=freeze)
    context: Json = field(converter=freeze)
    event: Json = field(converter=freeze)


class NewExecute(MutableWhileBuilding, Execute):
    """Builds an `Execute` quickly, of data that is frozen already; every custom action makes one."""

    __slots__ = ()

    def __init__(self: Any, index: int, type: str, params: Json, context: Json, event: Json) -> None:
        self.index = index
        self.type = type
        self.params = params
        self.context = context
        self.event = event
        self.__class__ = Execute


@frozen
class Invoke:
    """Start the actor `src` as `id`; its output or error comes back as an event.

    With `sync`, so does each snapshot it reaches.
    """

    index: int
    id: str
    src: str
    input: Json = field(default=None, converter=freeze)
    system_id: str | None = None
    sync: bool = False


@frozen
class Stop:
    """Stop the actor `id`: a result that still arrives is stale. None: the machine asked to stop an unknown actor."""

    index: int
    id: str | None


@frozen
class Send:
    """Send `event` to the actor `to`: a child's id, ``#_internal``, ``#_parent``, a system id, or a key as text.

    With a `delay`, it is sent once that has passed, unless it is cancelled by `id` before.
    """

    index: int
    to: str
    event: Json = field(converter=freeze)
    id: str | None = None
    delay: timedelta | None = None
    # Decided during the step, since children may start and stop within it: afterwards the same `to` may name another
    # actor. Not compared: it explains `to`, and is not part of XState's own effect.
    target_kind: TargetKind = field(default="external", eq=False)


@frozen
class Schedule:
    """Deliver `event` to this instance once `delay` has passed, unless it is cancelled by `id` before.

    A delayed ``raise`` and every ``after`` become this.
    """

    index: int
    event: Json = field(converter=freeze)
    delay: timedelta
    id: str | None = None


@frozen
class Cancel:
    """Cancel what was scheduled or sent under `id`."""

    index: int
    id: str


@frozen
class Emit:
    """Pass `event` to the listeners of this machine."""

    index: int
    event: Json = field(converter=freeze)


@frozen
class Log:
    """Log `value`, under `label` if there is one."""

    index: int
    value: Json = field(converter=freeze)
    label: str | None = None


@frozen
class Raise:
    """`event` was raised and taken within this same step. Reported as XState does; there is nothing to perform."""

    index: int
    event: Json = field(converter=freeze)
    id: str | None = None


Effect: TypeAlias = Execute | Invoke | Stop | Send | Schedule | Cancel | Emit | Log | Raise
