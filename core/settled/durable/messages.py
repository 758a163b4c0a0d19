"""What travels between instances: a key, an id, and text.

A queue sees a `Message` and need not read it. What the text says is a `Content`, a closed union; only the turn reads
it. A timer's message carries a token and not the event, and a child's report its generation: what the record does not
expect is stale, and nobody outside can forge it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, assert_never
from zlib import crc32

from attrs import frozen

from settled.data import Json, parse, write
from settled.errors import EventError
from settled.key import Key


@frozen
class Message:
    """A message for `key`. `id` is its sender's and stays the same however often it is sent; `body` is JSON text."""

    key: Key
    id: str
    body: str

    @property
    def digest(self) -> str:
        """Six characters that tell two bodies under one id apart; what machines send is told by the id alone."""
        if self.id.startswith(RESERVED_PREFIX):
            return "000000"
        return f"{crc32(self.body.encode('utf-8', 'surrogatepass')) & 0xFFFFFF:06x}"


@frozen
class Timer:
    """`message`, to be put into the queue at `due` (seconds since the epoch): at least once, and never early."""

    id: str
    message: Message
    due: float


RESERVED_PREFIX = "settled:"
"""The prefix of the ids of messages that machines send. Nobody else may use such an id (see `Client.send`)."""

CHILD_MARKER = "/~"
"""Stands before the id of a child machine in its instance's name. Nobody but its parent may start such an instance."""


def internal_id(name: str) -> str:
    """The id of a message that a machine sends, which no outsider can have used."""
    return f"{RESERVED_PREFIX}{name}"


def check_id(id: str) -> None:
    """Let an outsider use the message id `id`, unless it could be that of a machine's message.

    Raises:
        EventError: it could.
    """
    if id.startswith(RESERVED_PREFIX):
        raise EventError(
            f"the message id {id!r} begins with {RESERVED_PREFIX!r}, as those of machines do: use another one"
        )


def check_start(key: Key) -> None:
    """Let an outsider start the instance `key`, unless its name is none, or could be that of a child machine.

    Raises:
        EventError: it is.
    """
    if not key.instance:
        raise EventError("an instance needs a name: the one given is empty")
    if CHILD_MARKER in key.instance:
        raise EventError(f"{key}: {CHILD_MARKER!r} is in the names of child machines only: use another name")


@frozen
class SenderPosition:
    """The commit and instance that sent a message, and its place among that commit's. Undelayed messages carry it.

    `birth` tells the lives of the sender apart: its versions may begin again where a store forgets. `generation` is the
    start of the sender that counts, if it writes to its own parent.
    """

    key: Key
    birth: str
    version: int
    index: int
    generation: str | None = None

    @property
    def order(self) -> tuple[int, int]:
        """What grows from one message of a sender to its next."""
        return (self.version, self.index)


@frozen
class Parent:
    """To whom a child machine reports: its parent's key, and the id and generation under which it was started.

    `root` is the machine at the top, which knows the system ids of all below it. `sync`: the parent listens to the
    child's snapshots.
    """

    key: Key
    child: str
    generation: str
    root: Key
    sync: bool = False


@frozen
class Start:
    """Create the instance; `parent` if it is another machine's child."""

    input: Json = None
    parent: Parent | None = None


@frozen
class ImportChild:
    """Create a child from `tree`: its snapshot and those below it, as XState persists them."""

    tree: Json
    parent: Parent


@frozen
class Event:
    """An event for the machine; `stamp` if another instance sent it without a delay.

    `is_last`: the sender is a child that has ended since, and its report follows.
    """

    event: Json
    sender: SenderPosition | None = None
    is_last: bool = False


@frozen
class TimerFired:
    """The timer `token` is due. The event it stands for is in the record, if the timer still is.

    `early` is how often that was said too early.
    """

    token: str
    early: int = 0


@frozen
class ChildEnded:
    """A child machine has ended: `done` with its output as `data`, or else with an error."""

    child: str
    generation: str
    done: bool
    data: Json = None


@frozen
class StopChildInstance:
    """The parent has stopped this child; `generation` says which."""

    generation: str


@frozen
class RegisterSystemId:
    """To a root: the instance `key` below it goes by `system_id` now, or, if it has `ended`, no more.

    `parent`: to whom it reports, if it has only just been started.
    """

    system_id: str
    key: Key
    ended: bool
    parent: Parent | None = None


@frozen
class ForwardToSystemId:
    """To a root: pass `event` on to whoever goes by `system_id`; `stamp` if it was sent without a delay."""

    system_id: str
    event: Json
    sender: SenderPosition | None = None


@frozen
class Wake:
    """Wake up and look at the record; nothing is applied."""


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


def encode(content: Content) -> str:
    """`content` as the text of a message's body."""
    return write(_to_json(content))


def decode(body: str) -> Content:
    """The content of a body that `encode` wrote.

    Raises:
        EventError: the text is nothing that `encode` writes.
    """
    try:
        data = parse(body)
        return _READ[data["kind"]](data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EventError(f"not a message of settled: {body[:80]!r} ({error})") from error


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
            early: dict[str, Json] = {"early": content.early} if content.early else {}
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
            by: dict[str, Json] = {"parent": parent_to_json(parent)} if parent else {}
            return {"kind": "register", "system_id": system_id, "key": str(key), "ended": ended, **by}
        case ForwardToSystemId(system_id, event, sender):
            stamped: dict[str, Json] = {"sender": _sender_to_json(sender)} if sender else {}
            return {"kind": "forward", "system_id": system_id, "event": event, **stamped}
        case Wake():
            return {"kind": "wake"}
        case _:
            assert_never(content)


def _optional(convert: Callable[[Any], Json], value: Any) -> Json:
    return None if value is None else convert(value)


def _sender_to_json(sender: SenderPosition) -> Json:
    return [str(sender.key), sender.birth, *sender.order, sender.generation]


def _sender_from_json(data: Any) -> SenderPosition:
    sender, birth, version, place, generation = data
    child = None if generation is None else str(generation)
    return SenderPosition(Key.parse(sender), str(birth), int(version), int(place), child)


def parent_to_json(parent: Parent) -> Json:
    """`parent` as JSON, for a message or a record."""
    sync = [True] if parent.sync else []
    return [str(parent.key), parent.child, parent.generation, str(parent.root), *sync]


def parent_from_json(data: Any) -> Parent:
    """The parent that `parent_to_json` wrote."""
    key, child, generation, root, *sync = data
    return Parent(Key.parse(key), str(child), str(generation), Key.parse(root), sync == [True])


def _optional_parent(data: Any) -> Parent | None:
    return None if data is None else parent_from_json(data)


_READ: Mapping[str, Callable[[Mapping[str, Any]], Content]] = {
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
