"""The ids and keys that machines make: outsiders can neither guess nor use them, and none is used twice."""

from __future__ import annotations

from typing import Any

import pytest

from settled import EventError, Key, send_to, setup
from settled.durable import Start, Stored, encode
from settled.durable.limits import check_id, check_start
from settled.durable.messages import ChildEnded, Event, Message, RegisterSystemId, decode
from settled.durable.record import idempotency_key
from tests.durable.machines import SUBMIT, appending, signup, tell
from tests.durable.test_children import working
from tests.support.virtual_world import World


def records(world: World) -> dict[Key, Stored]:
    """Return the stored records, to restore them from a backup or to remove them."""
    store: Any = world.backend.store
    found: dict[Key, Stored] = store._stored
    return found


class TestAnIdempotencyKey:
    def test_contains_the_nonce_of_the_commit_that_accepted_the_event(self) -> None:
        assert idempotency_key(Key("m", "x"), "nonce.3", 2, 0) == "m/x/nonce.3/2/0"

    def test_is_not_reused_after_the_store_is_restored_from_a_backup(self) -> None:
        world = World(appending())
        world.start()
        world.settle()
        backup = world.backend.store.load(world.key())
        assert backup is not None
        world.send(tell(1))
        world.settle()
        records(world)[world.key()] = backup
        world.send(tell(2))
        world.settle()
        first, second = {key for each, key, _ in world.effects if each == "report"}
        assert first != second

    def test_is_not_reused_after_the_store_is_emptied(self) -> None:
        world = World(appending())
        for n in (1, 2):
            world.start(id=f"start {n}")
            world.send(tell(n))
            world.settle()
            records(world).clear()
        assert len({key for each, key, _ in world.effects if each == "report"}) == 2


class TestTheMessagesOfAMachine:
    def test_have_reserved_ids(self) -> None:
        world = working()
        world.send(SUBMIT)
        world.settle(until=5_000)
        own = [id for id in _all_ids(world) if not id.startswith("m")]
        assert own
        assert all(id.startswith("settled:") for id in own)

    @pytest.mark.parametrize("id", ["settled:", "settled:signup/ada/n/1/0"])
    def test_have_ids_that_an_outsider_cannot_use(self, id: str) -> None:
        with pytest.raises(EventError, match="begins with 'settled:'"):
            check_id(id)
        check_id(id.removeprefix("settled:"))

    def test_do_not_clash_with_the_ids_of_outsiders(self) -> None:
        world = World(signup())
        world.start()
        world.settle(until=world.now)
        world.send(SUBMIT)
        world.settle(until=2_000)
        (token,) = world.record().timers
        world.send({"type": "NOISE"}, id=token)
        world.settle(until=100_000)
        assert world.value() == "expired"


def _all_ids(world: World) -> list[str]:
    return [
        message.id
        for command in world.commands
        for write in [getattr(command, "write", None)]
        if write is not None
        for message in (*write.sends, *(timer.message for timer in write.timers))
    ]


class TestAChildsKey:
    @pytest.mark.parametrize("instance", ["ada/~kid.n.1.0", "/~"])
    def test_cannot_be_started_by_an_outsider(self, instance: str) -> None:
        with pytest.raises(EventError, match="in the names of child machines only"):
            check_start(Key("child", instance))
        world = World(appending())
        world.post(instance, encode(Start()))
        world.settle()
        assert world.record(instance).snapshot is None
        assert "in the names of child machines only" in world.dead_letters(instance)[0].reason

    def test_has_the_nonce_of_the_commit_that_started_it(self) -> None:
        world = working()
        (child,) = world.record().children.values()
        assert child.key.instance.startswith("ada/~kid.w1.1.")
        assert child.generation.startswith("parent/ada/w1.1/") or child.generation.count("/w1.1/") == 1


class TestAnEventForwardedToASystemId:
    def test_has_the_position_of_the_root_as_its_sender(self) -> None:
        machine = setup(actions={"pass": send_to("someone", {"type": "HEY"})}).machine(
            {"id": "root", "initial": "a", "states": {"a": {"tags": ["settled"]}}}
        )
        world = World(machine)
        world.start()
        world.post("ada", encode(RegisterSystemId("someone", Key("root", "bob"), False)))
        for n in range(2):
            world.post("ada", '{"kind":"forward","system_id":"someone","event":{"type":"HEY"}}', id=f"f{n}")
        world.deliver()
        senders = [_sender(message) for message in _sent(world) if message.key.instance == "bob"]
        assert [each.key for each in senders] == [world.key()] * 2
        assert senders[0].order < senders[1].order
        assert {each.start_nonce for each in senders} == {world.record().start_nonce}


def _sent(world: World) -> list[Message]:
    return [m for c in world.commands for w in [getattr(c, "write", None)] if w is not None for m in w.sends]


def _sender(message: Message) -> Any:
    content = decode(message.body)
    assert isinstance(content, Event)
    return content.sender


def test_a_report_of_another_start_of_a_child_changes_nothing() -> None:
    world = working()
    (child,) = world.record().children.values()
    world.post("ada", encode(ChildEnded("kid", child.generation.replace("w1.1", "w1.2"), True)))
    world.settle(until=world.now)
    assert list(world.record().children) == ["kid"]
