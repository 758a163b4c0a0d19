"""A store may delete the record of an instance that has ended: versions do not repeat in the next one of its name."""

from __future__ import annotations

import pytest

from settled import Key, Outcome, RecordError
from settled.durable import Capability, Traits
from settled.durable.commands import Finish
from settled_local.memory import MemoryBackend
from settled_runtime import Client
from tests.durable.machines import add, appending, applied
from tests.support.virtual_world import LEASE, World

NOW, NOW_MILLISECONDS = 1_700_000_000.25, 1_700_000_000_250


def started(*, expiry: bool = True) -> World:
    world = World(appending(), traits=Traits(expiry=expiry), now=NOW)
    world.start()
    world.settle(until=NOW)
    return world


def expire(backend: MemoryBackend, key: Key) -> None:
    """Delete the record of `key`, but not its dead letters."""
    del backend.store._stored[key]  # pyright: ignore[reportPrivateUsage]


class TestTheFirstVersion:
    def test_is_the_time_in_milliseconds_where_records_expire(self) -> None:
        world = started()
        assert world.version() == NOW_MILLISECONDS
        world.send(add(1))
        world.settle(until=NOW)
        assert world.version() == NOW_MILLISECONDS + 1

    def test_is_one_elsewhere(self) -> None:
        assert started(expiry=False).version() == 1

    def test_is_that_of_an_import_too(self) -> None:
        backend = Expiring(clock=lambda: NOW)
        Client(appending(), backend).import_snapshot("ada", '{"status":"active","value":"open","context":{}}')
        found = backend.store.load(Key("list", "ada"))
        assert found is not None
        assert found.version == NOW_MILLISECONDS


class TestTheNextInstance:
    def test_has_higher_versions(self) -> None:
        world = started()
        before = world.version()
        expire(world.backend, world.key())
        world.now += 1.0
        world.start(id="again")
        world.settle(until=world.now)
        assert world.version() > before

    def test_is_safe_from_a_worker_that_has_the_same_number_of_steps_of_the_former_one(self) -> None:
        world = started()
        world.send(add(1))
        world.settle(until=NOW)
        world.send(add(2))
        late = world.backend.queue.receive(10)

        def begins() -> None:
            world.now += LEASE
            others = world.backend.queue.receive(10)
            world.backend.queue.ack(others)
            expire(world.backend, world.key())
            world.start(id="again")
            world.send(add(7))
            world.take(world.backend.queue.receive(1))
            world.take(world.backend.queue.receive(1))

        world.before(Finish, begins)
        world.take(late)
        assert applied(world) == [7]


class TestDeadLettersWithoutARecord:
    """They were left by an operator who has removed the record by hand, or by an older version of settled."""

    def left(self) -> World:
        world = started()
        for number in (1, 2):
            world.post("ada", f'{{"no":{number}}}', id=f"bad {number}")
        world.settle(until=NOW)
        assert [each.message.id for each in world.dead_letters()] == ["bad 1", "bad 2"]
        expire(world.backend, world.key())
        return world

    def test_are_redriven(self) -> None:
        world = self.left()
        assert world.redrive() == 2
        world.settle(until=world.now)
        assert world.outcome("bad 1") is Outcome.INVALID

    def test_end_a_redrive_after_one_attempt_each_although_none_can_be_taken(self) -> None:
        world = self.left()
        world.redrive()
        world.commands.clear()
        world.settle(until=world.now)
        assert world.record().redriving is None
        assert [each.message.id for each in world.dead_letters()] == ["bad 1", "bad 2"]
        commits = [each for each in world.commands if isinstance(each, Finish) and each.write.stored]
        assert len(commits) == 2 + 1, "one for each dead letter, and one that ends the redrive"

    def test_are_redriven_by_the_next_instance(self) -> None:
        world = self.left()
        world.start(id="again")
        world.settle(until=world.now)
        assert world.redrive() == 2
        world.settle(until=world.now)
        assert world.record().redriving is None

    def test_are_deleted(self) -> None:
        world = self.left()
        client = Client(appending(), world.backend)
        assert client.delete("ada")
        assert world.dead_letters() == []
        assert not client.delete("ada")

    def test_are_not_to_be_redriven_if_there_are_none(self) -> None:
        world = started()
        expire(world.backend, world.key())
        with pytest.raises(RecordError, match="there is no such instance"):
            world.redrive()
        assert not Client(appending(), world.backend).delete("ada")


class Expiring(MemoryBackend):
    """A backend that declares that its records may expire."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.EXPIRY}
