"""Checks of C1: a declared capability works, and an undeclared one fails with UnsupportedError."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from settled import Key, UnsupportedError
from settled.durable import Capability, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, messages, stored, tombstone


@checks("C1")
def the_backend_declares_what_its_harness_declares(fixture: BackendFixture) -> None:
    named, declared = fixture.backend.capabilities, fixture.harness.capabilities
    for capability in Capability:
        fixture.require_equal(
            capability in named, capability in declared, f"whether the backend itself declares {capability}"
        )
    fixture.mark("declared")


@checks("C1")
def listing_works_if_declared_and_fails_if_not(fixture: BackendFixture) -> None:
    targets = [Key(machine, instance) for machine in ("m", "n") for instance in ("a", "a:1", "b", "é")]
    for target in reversed(targets):
        fixture.backend.store.commit(target, stored(1), 0)
    fixture.backend.store.delete(targets[1], tombstone(2), 1)
    targets.pop(1)
    if Capability.SCAN not in fixture.harness.capabilities:
        if Capability.UNORDERED_SCAN not in fixture.harness.capabilities:
            _require_unsupported(fixture, Capability.SCAN, fixture.backend.store.scan)
        return
    found = [target for target, _ in fixture.open_handle().store.scan()]
    fixture.require_equal(found, targets, "listed")
    fixture.require_equal(
        [target for target, _ in fixture.backend.store.scan("m")], targets[:3], "listed of the machine m"
    )
    pages = list[Key]()
    while page := fixture.backend.store.scan(after=pages[-1] if pages else None, limit=2):
        fixture.require(len(page) <= 2, f"a page of {len(page)} where 2 were asked for")
        pages += [target for target, _ in page]
    fixture.require_equal(pages, targets, "listed in pages")
    fixture.require_equal(list(fixture.backend.store.scan(status="done")), [], "listed with the status done")
    (_, first), *_ = fixture.backend.store.scan(status="active")
    fixture.require_equal(
        (first.version, first.index), (1, stored(1).index), "the version and the index that are listed"
    )


@checks("C1")
def joint_writes_work_if_declared_and_fail_if_not(fixture: BackendFixture) -> None:
    finish = partial(fixture.backend.finish_all, [Write(key(name), stored(1), 0) for name in ("a", "b")])
    if Capability.JOINT_FINISH not in fixture.harness.capabilities:
        _require_unsupported(fixture, Capability.JOINT_FINISH, finish)
        return
    fixture.require_equal(dict(finish().errors), {}, "refused of two writes to new keys")
    fixture.require_equal(set(finish().errors), {key("a"), key("b")}, "refused of the same two writes once more")


def _require_unsupported(fixture: BackendFixture, capability: Capability, call: Callable[[], object]) -> None:
    try:
        call()
    except UnsupportedError:
        return
    fixture.require(False, f"{capability} is not declared, but the call did not raise UnsupportedError")


@checks("C1", needs=Capability.JOINT_FINISH)
def a_joint_write_can_return_the_next_messages(fixture: BackendFixture) -> None:
    fixture.send(message("1"), message("2"))
    held = fixture.receives("1", limit=1)
    found = list(fixture.backend.finish_all([Write(key(), stored(1), 0, acks=tuple(held))], receive=5).deliveries)
    found = found or fixture.receive()
    fixture.require_equal([each.message.id for each in found], ["2"], "delivered with a write")


def _waiting(fixture: BackendFixture) -> list[tuple[str, int]]:
    return [(each.machine, each.messages) for each in fixture.backend.queue.backlog()]


@checks("C1", needs=Capability.BACKLOG)
def the_backlog_counts_what_waits_of_each_machine(fixture: BackendFixture) -> None:
    fixture.require_equal(_waiting(fixture), [], "the backlog of an empty queue")
    fixture.send(*(message(id, key(instance, machine)) for machine in ("n", "m/a") for instance in "ab" for id in "12"))
    fixture.send(message("3", key("a", "n")))
    fixture.require_equal(_waiting(fixture), [("m/a", 4), ("n", 5)], "the backlog")
    held = fixture.receive(20, least=9)
    fixture.require_equal(_waiting(fixture), [], "the backlog while everything is leased")
    others = [each for each in held if each.message.key.machine == "m/a"]
    fixture.backend.queue.release(others, fixture.lease * 2)
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.require_equal(_waiting(fixture), [("n", 5)], "the backlog when the leases have ended, and no one received")
    fixture.advance(fixture.lease)
    fixture.require_equal(_waiting(fixture), [("m/a", 4), ("n", 5)], "the backlog when the pauses have ended")


@checks("C1", needs=Capability.BACKLOG)
def the_backlog_says_when_the_oldest_message_was_sent(fixture: BackendFixture) -> None:
    before = fixture.backend.now()
    fixture.send(message("1"))
    sent = fixture.backend.now()
    fixture.advance(fixture.lease)
    fixture.send(message("2"))
    (found,) = fixture.backend.queue.backlog()
    tolerance = fixture.environment.contract.tolerance
    if found.oldest is not None:
        is_right = before - tolerance <= found.oldest <= sent + tolerance
        fixture.require(is_right, f"the oldest message is said to be of {found.oldest}, and was sent at {sent}")


@checks("C1", needs=Capability.BACKLOG)
def what_was_withdrawn_can_be_sent_again(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.withdraw(fixture.receives("1", "2", limit=2))
    fixture.send(*messages("3 1 2"))
    fixture.receives("3", "1", "2")


@checks("C1", needs=Capability.BACKLOG)
def a_stale_receipt_withdraws_nothing(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    stale = fixture.receives("1", "2")
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.backend.queue.withdraw(stale)
    held = fixture.receives("1", "2")
    fixture.backend.queue.withdraw(stale)
    fixture.send(*messages("2 1"))
    fixture.backend.queue.release(held)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


@checks("C1")
def the_backlog_fails_if_it_is_not_declared(fixture: BackendFixture) -> None:
    if Capability.BACKLOG in fixture.harness.capabilities:
        return
    fixture.send(message("1"))
    _require_unsupported(fixture, Capability.BACKLOG, fixture.backend.queue.backlog)
    held = fixture.receives("1")
    _require_unsupported(fixture, Capability.BACKLOG, lambda: fixture.backend.queue.withdraw(held))
