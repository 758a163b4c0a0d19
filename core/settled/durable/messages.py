"""Messages between instances, and the JSON of their bodies.

A queue sees a `Message` and need not read its body. The body encodes a `Content`, a closed union that only the turn
decodes. The message of a timer carries a token instead of the event, and a child's report carries the child's
generation, so a message that the record does not expect is recognised as stale, and an outsider cannot forge one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, assert_never
from zlib import crc32

from attrs import field, frozen

from settled.data import MAX_DEPTH, Json, is_json, is_object, parse_or_overflow, write
from settled.durable.headers import NO_HEADERS
from settled.errors import EventError
from settled.key import Key


@frozen
class Message:
    """A message for the instance `key`.

    Attributes:
        key: the instance.
        id: chosen by the sender, and the same each time the message is sent.
        body: JSON text; see `encode`.
        headers: short texts about the message that its machine does not see; see `settled.durable.headers`. A
            repetition may have others: it is the same message, and the first one's stay.
    """

    key: Key
    id: str
    body: str
    headers: Mapping[str, str] = field(default=NO_HEADERS, hash=False)

    @property
    def digest(self) -> str:
        """Six hexadecimal digits that distinguish two bodies sent under one id."""
        if self.id.startswith(RESERVED_PREFIX):
            return "000000"  # ids of machines are unique by construction, and outsiders cannot use them
        return f"{crc32(self.body.encode('utf-8', 'surrogatepass')) & 0xFFFFFF:06x}"

    @property
    def entry(self) -> str:
        """The id, a space and the digest: what a record remembers of a message."""
        return f"{self.id} {self.digest}"


@frozen
class Timer:
    """A message to send at `due`, in seconds since the epoch: at least once, and never early."""

    id: str
    message: Message
    due: float


RESERVED_PREFIX = "settled:"
"""The prefix of the ids of messages that machines send; see `settled.durable.limits`."""

CHILD_MARKER = "/~"
"""Precedes the id of a child machine in its instance's name. Only its parent may start it."""


def internal_id(name: str) -> str:
    """Return the id of a message that a machine sends, which no outsider can use."""
    return f"{RESERVED_PREFIX}{name}"


@frozen
class SenderPosition:
    """The position of an undelayed message among all that its sending instance has sent.

    Attributes:
        key: the sender.
        start_nonce: the nonce with which the sender was started. A sender that is started again has another one, so its
            positions are not compared even if the store has lost its versions and they begin again.
        version: the version of the commit that sent the message.
        index: the position among the messages of that commit.
        generation: the sender's generation as a child, if the message is for its parent.
    """

    key: Key
    start_nonce: str
    version: int
    index: int
    generation: str | None = None

    @property
    def order(self) -> tuple[int, int]:
        """The sort key: it increases from each message of a sender to the next."""
        return (self.version, self.index)


@frozen
class Parent:
    """The parent of a child machine.

    Attributes:
        key: the parent.
        child_id: the id under which the parent started the child.
        generation: identifies this start of the child; see `children`.
        root: the top of the actor system, which has the directory of its system ids.
        sync: whether the child sends each of its snapshots to the parent (XState's ``syncSnapshot``).
    """

    key: Key
    child_id: str
    generation: str
    root: Key
    sync: bool = False


@frozen
class Start:
    """Create the instance; `parent` is set if it is the child of another machine."""

    input: Json = None
    parent: Parent | None = None


@frozen
class ImportChild:
    """Create a child from `tree`: its snapshot and those of its descendants, as XState persists them."""

    tree: Json
    parent: Parent


class Event(NamedTuple):
    """An event for the machine.

    Attributes:
        event: the event.
        sender: the message's position, if another instance sent it without a delay.
        is_last: whether the sender is a child that ended in the same step, so its `ChildEnded` follows.
    """

    event: Json
    sender: SenderPosition | None = None
    is_last: bool = False


@frozen
class TimerFired:
    """The timer `token` is due. Its event is in the record, if the timer still is.

    `early` counts how many times the timer has been delivered before it was due.
    """

    token: str
    times_early: int = 0


@frozen
class ChildEnded:
    """A child machine has ended: `done` with its output as `data`, or otherwise with its error."""

    child: str
    generation: str
    done: bool
    data: Json = None


@frozen
class StopChildInstance:
    """Stop this child machine, if it still has the generation that the parent stopped."""

    generation: str


@frozen
class RegisterSystemId:
    """To a root: register `key` in the system under `system_id`, or unregister it if it has `ended`.

    `parent` is the parent of an instance that was just started, which is notified if the system id is already taken.
    """

    system_id: str
    key: Key
    ended: bool
    parent: Parent | None = None


@frozen
class ForwardToSystemId:
    """To a root: forward `event` to the actor that has `system_id`; `sender` is set if it was sent without a delay."""

    system_id: str
    event: Json
    sender: SenderPosition | None = None


@frozen
class Wake:
    """Load the record and resume its open turn or redrive, if any; the message itself changes nothing."""


Content: TypeAlias = (
    Start
    | ImportChild
    | Event
    | TimerFired
    | ChildEnded
    | StopChildInstance
    | RegisterSystemId
    | ForwardToSystemId
    | Wake
)


def encode(content: Content, levels: int = MAX_DEPTH) -> str:
    """Return `content` as the body of a message.

    Raises:
        EventError: the arrays and objects in it are nested more than `levels` deep.
        TypeError, ValueError: it is not JSON.
    """
    data = _to_json(content)
    try:
        body = write(data)
    except RecursionError:
        raise _too_deep(levels) from None
    # Nearly every body has few brackets, and is not looked through. One level is the object around all.
    if body.count("[") + body.count("{") > levels + 1 and not is_json(data, levels + 1):
        raise _too_deep(levels)
    return body


def decode(body: str, levels: int = MAX_DEPTH) -> Content:
    """Return the content of a body that `encode` wrote.

    Raises:
        EventError: `encode` did not write this text, or the arrays and objects in it are nested more than `levels`
            deep.
    """
    try:
        data = parse_or_overflow(body)
        content = _FROM_JSON[data["kind"]](data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EventError(f"not a message of settled: {body[:80]!r} ({error})") from error
    except RecursionError:
        raise _too_deep(levels) from None
    # Nearly every body has few brackets, and is not looked through. One level is the object around all.
    if body.count("[") + body.count("{") > levels + 1 and not is_json(data, levels + 1):
        raise _too_deep(levels)
    return content


def _too_deep(levels: int) -> EventError:
    return EventError(f"its arrays and objects are nested more than {levels} levels deep: flatten them")


def _to_json(content: Content) -> dict[str, Json]:
    match content:
        case Start():
            return {"kind": "start", "input": content.input, "parent": _optional(parent_to_json, content.parent)}
        case ImportChild():
            return {"kind": "import", "tree": content.tree, "parent": parent_to_json(content.parent)}
        case Event(event, None):
            return {"kind": "event", "event": event}
        case Event():
            last: dict[str, Json] = {"last": True} if content.is_last else {}
            return {
                "kind": "event",
                "event": content.event,
                "sender": _optional(_sender_to_json, content.sender),
                **last,
            }
        case TimerFired():
            early: dict[str, Json] = {"early": content.times_early} if content.times_early else {}
            return {"kind": "timer", "token": content.token, **early}
        case ChildEnded():
            return {
                "kind": "child-ended",
                "child": content.child,
                "generation": content.generation,
                "done": content.done,
                "data": content.data,
            }
        case StopChildInstance():
            return {"kind": "stop", "generation": content.generation}
        case RegisterSystemId(system_id, key, ended, parent):
            reports_to: dict[str, Json] = {"parent": parent_to_json(parent)} if parent else {}
            return {"kind": "register", "system_id": system_id, "key": str(key), "ended": ended, **reports_to}
        case ForwardToSystemId(system_id, event, sender):
            position: dict[str, Json] = {"sender": _sender_to_json(sender)} if sender else {}
            return {"kind": "forward", "system_id": system_id, "event": event, **position}
        case Wake():
            return {"kind": "wake"}
        case _:
            assert_never(content)


def _optional(convert: Callable[[Any], Json], value: Any) -> Json:
    return None if value is None else convert(value)


def _sender_to_json(sender: SenderPosition) -> Json:
    generation: dict[str, Json] = {} if sender.generation is None else {"generation": sender.generation}
    return {
        "key": str(sender.key),
        "start_nonce": sender.start_nonce,
        "version": sender.version,
        "index": sender.index,
        **generation,
    }


def _named(data: Any, *names: str) -> Mapping[str, Any]:
    # Older versions of settled wrote an array of the fields. Such a message may wait in a queue, or for its timer.
    return data if is_object(data) else dict(zip(names, data, strict=False))


def _sender_from_json(data: Any) -> SenderPosition:
    data = _named(data, "key", "start_nonce", "version", "index", "generation")
    generation = data.get("generation")
    child_generation = None if generation is None else str(generation)
    return SenderPosition(
        Key.parse(data["key"]), str(data["start_nonce"]), int(data["version"]), int(data["index"]), child_generation
    )


def parent_to_json(parent: Parent) -> Json:
    """Return `parent` as JSON, for a message or a record."""
    sync: dict[str, Json] = {"sync": True} if parent.sync else {}
    return {
        "key": str(parent.key),
        "child_id": parent.child_id,
        "generation": parent.generation,
        "root": str(parent.root),
        **sync,
    }


def parent_from_json(data: Any) -> Parent:
    """Return the parent that `parent_to_json` wrote."""
    data = _named(data, "key", "child_id", "generation", "root", "sync")
    return Parent(
        Key.parse(data["key"]),
        str(data["child_id"]),
        str(data["generation"]),
        Key.parse(data["root"]),
        data.get("sync") is True,
    )


def _optional_parent(data: Any) -> Parent | None:
    return None if data is None else parent_from_json(data)


_FROM_JSON: Mapping[str, Callable[[Mapping[str, Any]], Content]] = {
    "start": lambda data: Start(data["input"], _optional_parent(data["parent"])),
    "import": lambda data: ImportChild(data["tree"], parent_from_json(data["parent"])),
    "event": lambda data: Event(
        data["event"], _sender_from_json(data["sender"]) if "sender" in data else None, data.get("last") is True
    ),
    "timer": lambda data: TimerFired(str(data["token"]), int(data.get("early", 0))),
    "child-ended": lambda data: ChildEnded(
        str(data["child"]), str(data["generation"]), data["done"] is True, data["data"]
    ),
    "stop": lambda data: StopChildInstance(str(data["generation"])),
    "register": lambda data: RegisterSystemId(
        str(data["system_id"]), Key.parse(data["key"]), data["ended"] is True, _optional_parent(data.get("parent"))
    ),
    "forward": lambda data: ForwardToSystemId(
        str(data["system_id"]), data["event"], _sender_from_json(data["sender"]) if "sender" in data else None
    ),
    "wake": lambda data: Wake(),
}
