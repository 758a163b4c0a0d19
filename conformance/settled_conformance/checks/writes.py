"""Checks of D4, R6, R9, R10 and F8: `finish` and `finish_all`, for one key and for several."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from settled import ConflictError, OutcomeUnknownError
from settled.durable import Capability, FinishResult, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, ids_of, key, message, stored, timer, version_of
from settled_conformance.interruption import each_interruption


def _full_write(fixture: BackendFixture) -> Callable[[], object]:
    """Return a call that makes a write with a commit, a dead letter, a send and an acknowledgement."""
    handle = fixture.open_handle().backend
    handle.queue.send([message("head")])
    held = tuple(fixture.receive_raw(handle))
    write = Write(key(), stored(1), 0, (dead_letter("1"),), sends=(message("x", key("b")),), acks=held)
    return lambda: handle.finish(write)


@checks("R9", needs=Capability.ATOMIC_FINISH)
def an_interrupted_write_has_happened_or_not(fixture: BackendFixture) -> None:
    for round_trip in each_interruption(fixture, lambda: _full_write(fixture)):
        fresh = fixture.open_handle().backend
        version, dead_letters = version_of(fresh.store.load(key())), len(fresh.store.dead_letters(key()))
        fixture.advance(fixture.lease + fixture.harness.tick)
        found = [each.message.id for each in fixture.receive_raw(fresh)]
        expected = (1, 1, ["x"]) if version else (0, 0, ["head"])
        state = "the version, the number of dead letters and the deliveries"
        fixture.require_equal(
            (version, dead_letters, found), expected, f"{state}, after an interruption at {round_trip}"
        )


@checks("R6", needs=Capability.JOINT_FINISH)
def of_several_writes_the_late_one_is_refused_and_leaves_no_trace(fixture: BackendFixture) -> None:
    finished = _three_writes(fixture)
    fixture.require_equal(
        set(finished.errors), {key("b")}, "which of three writes were refused, where the second was late"
    )
    late = finished.errors.get(key("b"))
    fixture.require(
        isinstance(late, ConflictError), f"a late write among others failed with {late!r}, not a ConflictError"
    )
    fixture.require_equal(
        version_of(fixture.open_handle().store.load(key("b"))), 1, "the version that a late write found"
    )
    fixture.require_equal(
        ids_of(fixture.open_handle().store.dead_letters(key("b"))), [], "dead letters of a late write"
    )
    fixture.mark("conflict")


@checks("R9", needs=Capability.JOINT_FINISH)
def of_several_writes_each_succeeds_or_fails_separately(fixture: BackendFixture) -> None:
    finished = _three_writes(fixture)
    for name in ("a", "c"):
        fixture.require_equal(
            version_of(fixture.open_handle().store.load(key(name))), 1, f"the version of {name}, beside one refused"
        )
    found = [each.message.id for each in (*finished.deliveries, *fixture.receive(), *fixture.receive())]
    fixture.require_equal(sorted(found), ["to a", "to c"], "delivered with and after three writes")
    fixture.advance(fixture.lease + fixture.harness.tick)
    again = [each.message.id for _ in range(3) for each in fixture.receive_raw(fixture.open_handle().backend)]
    fixture.require("b1" in again, "the message of a write that was refused among others was acknowledged")
    fixture.mark("commit interrupted")


@checks("R9", needs=Capability.JOINT_FINISH)
def of_several_writes_one_that_reuses_an_id_fails_separately(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    fixture.backend.queue.ack(fixture.receives("1"))
    writes = [Write(key(name), stored(1), 0, sends=(message(f"to {name}", key("x")),)) for name in ("a", "b", "c")]
    writes[1] = evolve(writes[1], sends=(message("1", body='{"second":2}'),))
    refused = fixture.backend.finish_all(writes).errors
    fixture.require(set(refused) <= {key("b")}, f"refused of three writes of which one reuses an id: {refused}")
    for name in ("a", "c"):
        fixture.require_equal(
            version_of(fixture.open_handle().store.load(key(name))), 1, f"the version of {name}, beside one refused"
        )
    fixture.require_equal(
        version_of(fixture.open_handle().store.load(key("b"))), 0 if refused else 1, "the version of b"
    )


@checks("F8", needs=Capability.JOINT_FINISH)
def writes_return_no_more_messages_than_requested(fixture: BackendFixture) -> None:
    fixture.send(*(message("1", key(f"k{number}")) for number in range(5)))
    for version, asked in enumerate((0, 2, 0, 1), 1):
        found = fixture.backend.finish_all([Write(key(), stored(version), version - 1)], receive=asked).deliveries
        fixture.require(len(found) <= asked, f"{len(found)} messages came with a write where {asked} were asked for")


def _three_writes(fixture: BackendFixture) -> FinishResult:
    """Make writes of a, b and c in one call, each of which sends to its own key; b's conflicts."""
    names = ("a", "b", "c")
    fixture.send(*(message(f"{name}1", key(name)) for name in names))
    held = {each.message.key: each for _ in names for each in fixture.receive()}
    fixture.backend.store.commit(key("b"), stored(1), 0)
    writes = [
        Write(
            key(name),
            stored(1),
            0,
            (dead_letter("x"),),
            sends=(message(f"to {name}", key(name)),),
            acks=(held[key(name)],),
        )
        for name in names
    ]
    return fixture.backend.finish_all(writes, receive=1)


@checks("D4")
def an_interrupted_write_acknowledges_nothing_before_its_outbox_is_sent(fixture: BackendFixture) -> None:
    for round_trip in each_interruption(fixture, lambda: _full_write(fixture)):
        fixture.advance(fixture.lease + fixture.harness.tick)
        found = [each.message.id for each in fixture.receive_raw(fixture.open_handle().backend)]
        fixture.require(found, f"interrupted at {round_trip}: the message was acknowledged, and its outbox never sent")


@checks("D4")
def messages_of_a_write_are_queued_when_it_returns(fixture: BackendFixture) -> None:
    fixture.send(message("head"))
    held = fixture.receives("head")
    sender = fixture.open_handle()
    due = fixture.harness.now() + fixture.lease / 2
    write = Write(
        key(),
        stored(1),
        0,
        sends=(message("x", key("b")), message("y", key("b"))),
        timers=(timer("t", due, key("c")),),
        acks=tuple(held),
    )
    sender.finish(write)
    other = fixture.open_handle()
    other.queue.ack(fixture.receives("x", "y", through=other))
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.receives("t", through=other)
    fixture.mark("crash", "outbox sent")


@checks("R10")
def a_write_without_a_commit_can_be_repeated(fixture: BackendFixture) -> None:
    fixture.send(message("head"))
    held = fixture.receives("head")
    rest = Write(key(), sends=(message("x", key("b")),), acks=tuple(held))
    for _ in range(2):
        try:
            fixture.backend.finish(rest)
        except OutcomeUnknownError:
            continue
    fixture.receives("x", limit=1)
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("x", limit=1)
