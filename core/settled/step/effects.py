"""Effects: what a step asks the world to do.

An effect is data: it can be stored, compared, sent, and read by a person at three in the morning. It never holds a
function. Whoever performs effects matches over all of them and ends in ``assert_never``, so a new kind fails the type
check in every place that must learn about it.

`index` counts the effects of one turn in XState's order; it is the last part of an effect's idempotency key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from settled._fast_frozen import MutableWhileBuilding
from settled.data import Json

TargetKind: TypeAlias = Literal["child", "starting", "external"]
"""An actor that the machine has here, one that the node being entered is about to start, or none of its own actors."""


@frozen
class Execute:
    """Run the custom action `type`. `context` and `event` are those at the action's own position in the step."""

    index: int
    type: str
    params: Json
    context: Json
    event: Json


class NewExecute(MutableWhileBuilding, Execute):
    """Makes an `Execute`, quickly."""

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

    `sync`: so does each snapshot that it comes to.
    """

    index: int
    id: str
    src: str
    input: Json = None
    system_id: str | None = None
    sync: bool = False


@frozen
class Stop:
    """Forget the actor `id`: a result that still arrives is stale. None: there was no such actor."""

    index: int
    id: str | None


@frozen
class Send:
    """Send `event` to the actor `to`: a child's id, ``#_parent``, a system id, or an instance's key as text.

    With a `delay`, it is sent once that has passed, unless cancelled by `id` before. `whom` says what `to` means at
    this place of the step: an actor may come and go within it.
    """

    index: int
    to: str
    event: Json
    id: str | None = None
    delay: timedelta | None = None
    target_kind: TargetKind = field(default="external", eq=False)


@frozen
class Schedule:
    """Deliver `event` to this instance once `delay` has passed, unless cancelled by `id` before.

    A delayed ``raise`` and every ``after`` become this.
    """

    index: int
    event: Json
    delay: timedelta
    id: str | None = None


@frozen
class Cancel:
    """Cancel what was scheduled or sent under `id`."""

    index: int
    id: str


@frozen
class Emit:
    """Hand `event` to whoever listens to this machine."""

    index: int
    event: Json


@frozen
class Log:
    """Write down `value`, under `label` if there is one."""

    index: int
    value: Json
    label: str | None = None


@frozen
class Raise:
    """`event` was raised and has been taken within this same step. Shown as XState shows it; nobody performs it."""

    index: int
    event: Json
    id: str | None = None


Effect: TypeAlias = Execute | Invoke | Stop | Send | Schedule | Cancel | Emit | Log | Raise
