"""R12: a write is made in the name of a hand-out, and only while that holds its key."""

from __future__ import annotations

from settled import LeaseLost, SettledError
from settled.durable import Capability, Delivery, Write
from settled_conformance.checks import proves
from settled_conformance.checks.leases import taken_over
from settled_conformance.fixture import Bench, key, letter, message, messages, stored, tombstone, version_of


def _write_of(holder: Delivery, expected: int = 0) -> Write:
    """All that a write may do, in the name of `holder`."""
    owed = (message("owed", key("b")),)
    return Write(key(), stored(expected + 1), expected, (letter("d"),), sends=owed, acks=(holder,), holder=holder)


def _fails(bench: Bench, write: Write, together: bool) -> SettledError | None:
    """What becomes of `write`, made alone or together with others."""
    if together and Capability.JOINT_FINISH in bench.harness.capabilities:
        return bench.backend.finish_all([write]).refused.get(write.key)
    try:
        bench.backend.finish(write)
    except SettledError as error:
        return error
    return None


def _is_refused_whole(bench: Bench, holder: Delivery, together: bool) -> None:
    before = version_of(bench.backend.store.load(key()))
    error = _fails(bench, _write_of(holder, before), together)
    bench.holds(isinstance(error, LeaseLost), f"a commit in the name of a lost lease: {error!r}, expected LeaseLost")
    fresh = bench.another()
    bench.same(version_of(fresh.store.load(key())), before, "the version after a commit that was refused")
    bench.same(list(fresh.store.dead_letters(key())), [], "the dead letters of a commit that was refused")
    bench.mark("commit in the name of a lost lease")


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_that_holds_its_key_commits(bench: Bench) -> None:
    for together in (False, True):
        bench.send(*messages("1 2"))
        held = bench.receives("1", "2", limit=2)
        error = _fails(bench, Write(key(), stored(1), 0, acks=(held[0],), holder=held[0]), together)
        bench.holds(error is None, f"a commit in the name of a lease that runs: {error!r}")
        error = _fails(bench, Write(key(), stored(2), 1, acks=(held[1],), holder=held[1]), together)
        bench.holds(error is None, f"a second commit of the same hand-out: {error!r}")
        bench.mark("commit in the name of a lease")
        bench.renew()


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_that_was_extended_commits(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.advance(bench.lease * 0.6)
    bench.backend.queue.extend(held, bench.lease)
    bench.advance(bench.lease * 0.6)
    error = _fails(bench, _write_of(held[0]), together=False)
    bench.holds(error is None, f"a commit in the name of a lease that was extended: {error!r}")


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_whose_key_was_taken_over_commits_nothing(bench: Bench) -> None:
    for together in (False, True):
        old, _ = taken_over(bench)
        _is_refused_whole(bench, old[0], together)
        bench.renew()


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_whose_message_was_acknowledged_by_others_commits_nothing(bench: Bench) -> None:
    for together in (False, True):
        old, new = taken_over(bench)
        bench.backend.queue.ack(new)
        bench.backend.queue.ack(bench.receives("2"))
        _is_refused_whole(bench, old[0], together)
        bench.renew()


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_that_was_given_back_commits_nothing(bench: Bench) -> None:
    for together in (False, True):
        bench.send(message("1"))
        held = bench.receives("1")
        bench.backend.queue.release(held)
        _is_refused_whole(bench, held[0], together)
        bench.renew()


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_whose_lease_is_over_commits_nothing(bench: Bench) -> None:
    for together in (False, True):
        bench.send(message("1"))
        held = bench.receives("1")
        bench.advance(bench.lease + bench.harness.tick)
        _is_refused_whole(bench, held[0], together)
        bench.renew()


@proves("R12", needs=Capability.FENCED_FINISH)
def a_hand_out_of_a_deleted_instance_commits_nothing_to_the_next_one(bench: Bench) -> None:
    bench.commit(key(), 1)
    old, _ = taken_over(bench)
    bench.backend.store.delete(key(), tombstone(2), 1)
    bench.commit(key(), 3)
    _is_refused_whole(bench, old[0], together=False)
