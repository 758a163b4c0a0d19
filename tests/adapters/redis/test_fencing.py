"""A write with a holder commits only while the holder's lease lasts (R6, D3, FENCED_FINISH), whatever the version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest

from settled.durable.ports import Capability, Delivery, Write
from settled.errors import ConflictError, LeaseLostError
from tests.adapters.local.fixtures import ADA, BEN, CEM, LEASE, BackendEnv, dead_letter, ids, message, stored, timer
from tests.adapters.redis.conftest import Opener, commands, env_on
from tests.emulators.redis_servers import Process


@pytest.fixture
def env(any_env: BackendEnv) -> BackendEnv:
    return any_env


def lease_of_ada(env: BackendEnv) -> Delivery:
    """Commit version 1 with a dead letter, send two messages, and return the delivery of the first."""
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "x")])
    env.send(ADA, "a", "b")
    return env.take()[0]


def full_write(env: BackendEnv, holder: Delivery | None, acks: Iterable[Delivery] = ()) -> Write:
    """Return a write for Ada with every field set."""
    env.timers.schedule(timer("old", env.clock.now + 2 * LEASE))
    return Write(
        ADA,
        stored(2, "after"),
        1,
        add_dead_letters=(dead_letter(ADA, "y"),),
        remove_dead_letters=1,
        sends=(message(BEN, "to ben"),),
        timers=(timer("new", env.clock.now + 2 * LEASE),),
        cancels=("old",),
        acks=tuple(acks),
        holder=holder,
    )


def assert_unchanged(env: BackendEnv) -> None:
    """Assert that nothing of `full_write` was done."""
    assert env.store.load(ADA) == stored(1)
    assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "x")]
    env.clock.now += 3 * LEASE
    assert sorted(env.drain()) == ["a", "b", "old"]


def let_expire(env: BackendEnv, held: Delivery) -> None:
    env.clock.now += LEASE


def take_over(env: BackendEnv, held: Delivery) -> None:
    env.clock.now += LEASE
    assert ids(env.reopen().queue.receive(1)) == ["a"]


def release(env: BackendEnv, held: Delivery) -> None:
    env.queue.release([held])


def park(env: BackendEnv, held: Delivery) -> None:
    env.queue.release([held], 5)


LOSSES: dict[str, Callable[[BackendEnv, Delivery], None]] = {
    "ran out": let_expire,
    "was taken over": take_over,
    "was released": release,
    "was parked": park,
}


class TestAHolder:
    def test_that_has_the_key_commits(self, env: BackendEnv) -> None:
        assert Capability.FENCED_FINISH in env.backend.capabilities
        held = lease_of_ada(env)
        write = full_write(env, held, [held])
        env.backend.finish(write)
        assert env.store.load(ADA) == write.stored
        assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "y")]
        env.clock.now += 3 * LEASE
        assert sorted(env.drain()) == ["b", "new", "to ben"]

    @pytest.mark.parametrize("lose_lease", LOSSES.values(), ids=LOSSES)
    def test_whose_lease_is_lost_changes_nothing(
        self, env: BackendEnv, lose_lease: Callable[[BackendEnv, Delivery], None]
    ) -> None:
        """D3, R9."""
        held = lease_of_ada(env)
        write = full_write(env, held, [held])
        lose_lease(env, held)
        with pytest.raises(LeaseLostError, match="signup/ada: its lease was lost; version 2 was not written"):
            env.backend.finish(write)
        assert_unchanged(env)

    @pytest.mark.parametrize("lose_lease", LOSSES.values(), ids=LOSSES)
    def test_whose_lease_is_lost_changes_nothing_among_others(
        self, env: BackendEnv, lose_lease: Callable[[BackendEnv, Delivery], None]
    ) -> None:
        """The writes before and after it are done."""
        held = lease_of_ada(env)
        ada = full_write(env, held, [held])
        lose_lease(env, held)
        ben, cem = (Write(key, stored(1), 0) for key in (BEN, CEM))
        finished = env.backend.finish_all([ben, ada, cem])
        assert {key: type(error) for key, error in finished.errors.items()} == {ADA: LeaseLostError}
        assert env.store.load(BEN) == env.store.load(CEM) == stored(1)
        assert_unchanged(env)

    def test_has_the_lease_until_the_whole_batch_is_acknowledged(self, env: BackendEnv) -> None:
        env.send(ADA, "a", "b", "c")
        first, second, third = env.take(3)
        env.backend.finish(Write(ADA, stored(1), 0, acks=(first,), holder=first))
        env.backend.finish(Write(ADA, stored(2), 1, acks=(second,), holder=first))
        env.backend.finish(Write(ADA, stored(3), 2, acks=(third,), holder=third))
        with pytest.raises(LeaseLostError):
            env.backend.finish(Write(ADA, stored(4), 3, holder=third))

    def test_may_extend_its_lease(self, env: BackendEnv) -> None:
        """Until the extended lease ends."""
        held = lease_of_ada(env)
        env.queue.extend([held], 10 * LEASE)
        env.clock.now += 10 * LEASE - 0.001
        env.backend.finish(Write(ADA, stored(2), 1, holder=held))
        env.clock.now += 0.001
        with pytest.raises(LeaseLostError):
            env.backend.finish(Write(ADA, stored(3), 2, holder=held))

    def test_gets_a_conflict_rather_than_a_lost_lease(self, env: BackendEnv) -> None:
        """R6: the conflict tells the caller more."""
        held = lease_of_ada(env)
        env.store.commit(ADA, stored(2, "other"), 1)
        take_over(env, held)
        with pytest.raises(ConflictError, match="expected version 1, found 2"):
            env.backend.finish(Write(ADA, stored(2), 1, holder=held))

    def test_is_checked_only_if_something_is_committed(self, env: BackendEnv) -> None:
        """Sends, and acknowledgements without effect, are done without a lease."""
        held = lease_of_ada(env)
        take_over(env, held)
        env.backend.finish(Write(ADA, sends=(message(BEN, "b"),), acks=(held,), holder=held))
        assert ids(env.take()) == ["b"]

    def test_is_optional(self, env: BackendEnv) -> None:
        """An operator commits by the version alone, even if the key is leased."""
        lease_of_ada(env)
        env.backend.finish(Write(ADA, stored(2, "by hand"), 1))
        assert env.store.load(ADA) == stored(2, "by hand")


def test_messages_are_delivered_although_another_write_has_lost_its_lease(
    redis: Process, opener: Callable[[Process], Opener]
) -> None:
    env = env_on(opener(redis), partitions=1)
    held = lease_of_ada(env)
    release(env, held)
    writes = [Write(ADA, stored(2), 1, holder=held), Write(BEN, stored(1), 0, sends=(message(BEN, "next"),))]
    finished = env.backend.finish_all(writes, receive=5)
    assert ids(finished.deliveries) == ["a", "b", "next"]


def test_a_lease_is_checked_by_the_server_s_clock(redis: Process, opener: Callable[[Process], Opener]) -> None:
    backend = opener(redis)(lease=timedelta(minutes=1))
    backend.queue.send([message(ADA, "a")])
    held = backend.queue.receive(1)
    backend.finish(Write(ADA, stored(1), 0, holder=held[0]))
    backend.queue.extend(held, 0.0)
    with pytest.raises(LeaseLostError):
        backend.finish(Write(ADA, stored(2), 1, holder=held[0]))


@pytest.mark.parametrize("is_joint", [False, True])
def test_checking_the_holder_costs_no_command(
    redis: Process, opener: Callable[[Process], Opener], is_joint: bool
) -> None:
    """The script runs as many commands as for a commit by the version alone, with an acknowledgement in both."""
    backend, spent = opener(redis)(), dict[bool, int]()
    backend.store.commit(ADA, stored(1), 0)
    for version, is_fenced in enumerate((False, True), start=1):
        backend.queue.send([message(ADA, f"{is_fenced}")])
        (held,) = backend.queue.receive(1)
        write = Write(ADA, stored(version + 1), version, acks=(held,), holder=held if is_fenced else None)
        before = commands(redis)
        if is_joint:
            assert not backend.finish_all([write], receive=1).errors
        else:
            backend.finish(write)
        spent[is_fenced] = commands(redis) - before
    assert spent[True] == spent[False]
