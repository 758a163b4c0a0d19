"""Checks of R12: a write succeeds only while the lease of its holder is current."""

from __future__ import annotations

from settled import LeaseLostError, SettledError
from settled.durable import Capability, Delivery, Write
from settled_conformance.checks import checks
from settled_conformance.checks.leases import taken_over
from settled_conformance.fixture import (
    BackendFixture,
    dead_letter,
    key,
    message,
    messages,
    stored,
    tombstone,
    version_of,
)


def _write_of(holder: Delivery, expected: int = 0) -> Write:
    """Return a write with every part, under the lease of `holder`."""
    sends = (message("sent", key("b")),)
    return Write(key(), stored(expected + 1), expected, (dead_letter("d"),), sends=sends, acks=(holder,), holder=holder)


def _error_of(fixture: BackendFixture, write: Write, together: bool) -> SettledError | None:
    """Make `write`, alone or through `finish_all`, and return its error."""
    if together and Capability.JOINT_FINISH in fixture.harness.capabilities:
        return fixture.backend.finish_all([write]).errors.get(write.key)
    try:
        fixture.backend.finish(write)
    except SettledError as error:
        return error
    return None


def _require_refused(fixture: BackendFixture, holder: Delivery, together: bool) -> None:
    before = version_of(fixture.backend.store.load(key()))
    error = _error_of(fixture, _write_of(holder, before), together)
    fixture.require(
        isinstance(error, LeaseLostError), f"a commit under a lost lease: {error!r}, expected LeaseLostError"
    )
    fresh = fixture.open_handle()
    fixture.require_equal(version_of(fresh.store.load(key())), before, "the version after a commit that was refused")
    fixture.require_equal(list(fresh.store.dead_letters(key())), [], "the dead letters of a commit that was refused")
    fixture.mark("commit under a lost lease")


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_with_a_current_lease_can_commit(fixture: BackendFixture) -> None:
    for together in (False, True):
        fixture.send(*messages("1 2"))
        held = fixture.receives("1", "2", limit=2)
        error = _error_of(fixture, Write(key(), stored(1), 0, acks=(held[0],), holder=held[0]), together)
        fixture.require(error is None, f"a commit under a current lease: {error!r}")
        error = _error_of(fixture, Write(key(), stored(2), 1, acks=(held[1],), holder=held[1]), together)
        fixture.require(error is None, f"a second commit under the same lease: {error!r}")
        fixture.mark("commit under a current lease")
        fixture.reset()


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_with_an_extended_lease_can_commit(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.advance(fixture.lease * 0.6)
    fixture.backend.queue.extend(held, fixture.lease)
    fixture.advance(fixture.lease * 0.6)
    error = _error_of(fixture, _write_of(held[0]), together=False)
    fixture.require(error is None, f"a commit under an extended lease: {error!r}")


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_whose_key_was_taken_over_cannot_commit(fixture: BackendFixture) -> None:
    for together in (False, True):
        old, _ = taken_over(fixture)
        _require_refused(fixture, old[0], together)
        fixture.reset()


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_acknowledged_by_another_holder_cannot_commit(fixture: BackendFixture) -> None:
    for together in (False, True):
        old, new = taken_over(fixture)
        fixture.backend.queue.ack(new)
        fixture.backend.queue.ack(fixture.receives("2"))
        _require_refused(fixture, old[0], together)
        fixture.reset()


@checks("R12", needs=Capability.FENCED_FINISH)
def a_released_delivery_cannot_commit(fixture: BackendFixture) -> None:
    for together in (False, True):
        fixture.send(message("1"))
        held = fixture.receives("1")
        fixture.backend.queue.release(held)
        _require_refused(fixture, held[0], together)
        fixture.reset()


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_whose_lease_expired_cannot_commit(fixture: BackendFixture) -> None:
    for together in (False, True):
        fixture.send(message("1"))
        held = fixture.receives("1")
        fixture.advance(fixture.lease + fixture.harness.tick)
        _require_refused(fixture, held[0], together)
        fixture.reset()


@checks("R12", needs=Capability.FENCED_FINISH)
def a_delivery_of_a_deleted_instance_cannot_commit_to_the_next_one(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1)
    old, _ = taken_over(fixture)
    fixture.backend.store.delete(key(), tombstone(2), 1)
    fixture.commit(key(), 3)
    _require_refused(fixture, old[0], together=False)
