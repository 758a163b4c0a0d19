"""C1: what is declared is there, and what is not says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from settled import Key, UnsupportedError
from settled.durable import Capability, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, stored, tombstone


@checks("C1")
def the_backend_declares_what_its_harness_declares(fixture: BackendFixture) -> None:
    named, declared = fixture.backend.capabilities, fixture.harness.capabilities
    for capability in Capability:
        fixture.same(capability in named, capability in declared, f"whether the backend itself declares {capability}")
    fixture.mark("declared")


@checks("C1")
def listing_works_if_it_is_declared_and_is_refused_if_not(fixture: BackendFixture) -> None:
    places = [Key(machine, instance) for machine in ("m", "n") for instance in ("a", "a:1", "b", "é")]
    for place in reversed(places):
        fixture.backend.store.commit(place, stored(1), 0)
    fixture.backend.store.delete(places[1], tombstone(2), 1)
    places.pop(1)
    if Capability.SCAN not in fixture.harness.capabilities:
        _is_unsupported(fixture, Capability.SCAN, fixture.backend.store.scan)
        return
    found = [place for place, _ in fixture.another().store.scan()]
    fixture.same(found, places, "listed")
    fixture.same([place for place, _ in fixture.backend.store.scan("m")], places[:3], "listed of the machine m")
    pages = list[Key]()
    while page := fixture.backend.store.scan(after=pages[-1] if pages else None, limit=2):
        fixture.holds(len(page) <= 2, f"a page of {len(page)} where 2 were asked for")
        pages += [place for place, _ in page]
    fixture.same(pages, places, "listed in pages")
    fixture.same(list(fixture.backend.store.scan(status="done")), [], "listed with the status done")
    (_, first), *_ = fixture.backend.store.scan(status="active")
    fixture.same((first.version, first.index), (1, stored(1).index), "the version and the index that are listed")


@checks("C1")
def several_writes_go_together_if_it_is_declared_and_are_refused_if_not(fixture: BackendFixture) -> None:
    finish = partial(fixture.backend.finish_all, [Write(key(name), stored(1), 0) for name in ("a", "b")])
    if Capability.JOINT_FINISH not in fixture.harness.capabilities:
        _is_unsupported(fixture, Capability.JOINT_FINISH, finish)
        return
    fixture.same(dict(finish().refused), {}, "refused of two writes to new keys")
    fixture.same(set(finish().refused), {key("a"), key("b")}, "refused of the same two writes once more")


def _is_unsupported(fixture: BackendFixture, capability: Capability, call: Callable[[], object]) -> None:
    try:
        call()
    except UnsupportedError:
        return
    fixture.holds(False, f"{capability} is not declared, and what it stands for did not raise Unsupported")


@checks("C1", needs=Capability.JOINT_FINISH)
def a_write_may_bring_the_next_messages_with_it(fixture: BackendFixture) -> None:
    fixture.send(message("1"), message("2"))
    held = fixture.receives("1", limit=1)
    found = list(fixture.backend.finish_all([Write(key(), stored(1), 0, acks=tuple(held))], receive=5).deliveries)
    found = found or fixture.receive()
    fixture.same([each.message.id for each in found], ["2"], "handed out with a write")
