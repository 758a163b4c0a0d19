"""Only who holds a key commits in the name of that hand-out (R6, D3, FENCED_FINISH), whatever the version is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from settled.durable.ports import Capability, Delivery, Write
from settled.errors import ConflictError, LeaseLostError
from tests.adapters.local.fixtures import ADA, BEN, CEM, LEASE, Place, ids, letter, message, stored, timer
from tests.adapters.redis.conftest import Opener, commands, place_on
from tests.emulators.redis_servers import Process


@pytest.fixture
def place(any_place: Place) -> Place:
    return any_place


def held_of_ada(place: Place) -> Delivery:
    """The first of two messages; her record is at version 1, with a dead letter."""
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "x")])
    place.send(ADA, "a", "b")
    return place.take()[0]


def everything(place: Place, holder: Delivery | None, acks: Iterable[Delivery] = ()) -> Write:
    """A step of Ada's that touches all there is, in the name of `holder`."""
    place.timers.schedule(timer("old", place.clock.now + 2 * LEASE))
    return Write(
        ADA,
        stored(2, "after"),
        1,
        bury=(letter(ADA, "y"),),
        unbury=1,
        sends=(message(BEN, "to ben"),),
        timers=(timer("new", place.clock.now + 2 * LEASE),),
        cancels=("old",),
        acks=tuple(acks),
        holder=holder,
    )


def expect_untouched(place: Place) -> None:
    """Nothing of such a step was done."""
    assert place.store.load(ADA) == stored(1)
    assert list(place.store.dead_letters(ADA)) == [letter(ADA, "x")]
    place.clock.now += 3 * LEASE
    assert sorted(place.drain()) == ["a", "b", "old"]


def run_out(place: Place, held: Delivery) -> None:
    place.clock.now += LEASE


def be_taken_over(place: Place, held: Delivery) -> None:
    place.clock.now += LEASE
    assert ids(place.again().queue.receive(1)) == ["a"]


def be_released(place: Place, held: Delivery) -> None:
    place.queue.release([held])


def be_parked(place: Place, held: Delivery) -> None:
    place.queue.release([held], 5)


WAYS: dict[str, Callable[[Place, Delivery], None]] = {
    "ran out": run_out,
    "was taken over": be_taken_over,
    "was released": be_released,
    "was parked": be_parked,
}


class TestAHolder:
    def test_that_has_the_key_commits(self, place: Place) -> None:
        assert Capability.FENCED_FINISH in place.backend.capabilities
        held = held_of_ada(place)
        write = everything(place, held, [held])
        place.backend.finish(write)
        assert place.store.load(ADA) == write.stored
        assert list(place.store.dead_letters(ADA)) == [letter(ADA, "y")]
        place.clock.now += 3 * LEASE
        assert sorted(place.drain()) == ["b", "new", "to ben"]

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_whose_lease_is_lost_changes_nothing(self, place: Place, way: Callable[[Place, Delivery], None]) -> None:
        """D3, R9: and is told so."""
        held = held_of_ada(place)
        write = everything(place, held, [held])
        way(place, held)
        with pytest.raises(
            LeaseLostError, match="signup/ada: the lease in whose name version 2 was to be written was lost"
        ):
            place.backend.finish(write)
        expect_untouched(place)

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_whose_lease_is_lost_changes_nothing_among_others(
        self, place: Place, way: Callable[[Place, Delivery], None]
    ) -> None:
        """The others do theirs, in front of it and behind it."""
        held = held_of_ada(place)
        ada = everything(place, held, [held])
        way(place, held)
        ben, cem = (Write(key, stored(1), 0) for key in (BEN, CEM))
        finished = place.backend.finish_all([ben, ada, cem])
        assert {key: type(error) for key, error in finished.refused.items()} == {ADA: LeaseLostError}
        assert place.store.load(BEN) == place.store.load(CEM) == stored(1)
        expect_untouched(place)

    def test_has_the_key_until_all_it_was_handed_is_acknowledged(self, place: Place) -> None:
        place.send(ADA, "a", "b", "c")
        first, second, third = place.take(3)
        place.backend.finish(Write(ADA, stored(1), 0, acks=(first,), holder=first))
        place.backend.finish(Write(ADA, stored(2), 1, acks=(second,), holder=first))
        place.backend.finish(Write(ADA, stored(3), 2, acks=(third,), holder=third))
        with pytest.raises(LeaseLostError):
            place.backend.finish(Write(ADA, stored(4), 3, holder=third))

    def test_may_have_the_key_for_longer(self, place: Place) -> None:
        """Up to the moment at which the extended lease ends."""
        held = held_of_ada(place)
        place.queue.extend([held], 10 * LEASE)
        place.clock.now += 10 * LEASE - 0.001
        place.backend.finish(Write(ADA, stored(2), 1, holder=held))
        place.clock.now += 0.001
        with pytest.raises(LeaseLostError):
            place.backend.finish(Write(ADA, stored(3), 2, holder=held))

    def test_who_was_first_is_told_of_the_version(self, place: Place) -> None:
        """R6: another commit says more than a lost lease."""
        held = held_of_ada(place)
        place.store.commit(ADA, stored(2, "other"), 1)
        be_taken_over(place, held)
        with pytest.raises(ConflictError, match="expected version 1, found 2"):
            place.backend.finish(Write(ADA, stored(2), 1, holder=held))

    def test_is_asked_for_where_something_is_committed(self, place: Place) -> None:
        """What is only sent, or acknowledged in vain, does no harm."""
        held = held_of_ada(place)
        be_taken_over(place, held)
        place.backend.finish(Write(ADA, sends=(message(BEN, "b"),), acks=(held,), holder=held))
        assert ids(place.take()) == ["b"]

    def test_need_not_be_there(self, place: Place) -> None:
        """An operator commits by the version, whoever holds the key."""
        held_of_ada(place)
        place.backend.finish(Write(ADA, stored(2, "by hand"), 1))
        assert place.store.load(ADA) == stored(2, "by hand")


def test_what_one_holder_finds_next_is_handed_out_though_another_has_lost_its_lease(
    redis: Process, opener: Callable[[Process], Opener]
) -> None:
    place = place_on(opener(redis), partitions=1)
    held = held_of_ada(place)
    be_released(place, held)
    writes = [Write(ADA, stored(2), 1, holder=held), Write(BEN, stored(1), 0, sends=(message(BEN, "next"),))]
    finished = place.backend.finish_all(writes, receive=5)
    assert ids(finished.deliveries) == ["a", "b", "next"]


def test_a_lease_is_looked_at_by_the_server_s_clock(redis: Process, opener: Callable[[Process], Opener]) -> None:
    backend = opener(redis)(lease=60.0)
    backend.queue.send([message(ADA, "a")])
    held = backend.queue.receive(1)
    backend.finish(Write(ADA, stored(1), 0, holder=held[0]))
    backend.queue.extend(held, 0.0)
    with pytest.raises(LeaseLostError):
        backend.finish(Write(ADA, stored(2), 1, holder=held[0]))


@pytest.mark.parametrize("is_joint", [False, True])
def test_to_ask_for_the_holder_costs_nothing(
    redis: Process, opener: Callable[[Process], Opener], is_joint: bool
) -> None:
    """As many commands as a commit by the version alone, where a message is acknowledged with it."""
    backend, spent = opener(redis)(), dict[bool, int]()
    backend.store.commit(ADA, stored(1), 0)
    for version, is_fenced in enumerate((False, True), start=1):
        backend.queue.send([message(ADA, f"{is_fenced}")])
        (held,) = backend.queue.receive(1)
        write = Write(ADA, stored(version + 1), version, acks=(held,), holder=held if is_fenced else None)
        before = commands(redis)
        if is_joint:
            assert not backend.finish_all([write], receive=1).refused
        else:
            backend.finish(write)
        spent[is_fenced] = commands(redis) - before
    assert spent[True] == spent[False]
