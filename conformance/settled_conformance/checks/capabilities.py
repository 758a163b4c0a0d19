"""C1: what is declared is there, and what is not says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from settled import Key, Unsupported
from settled.durable import Capability, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, message, stored, tombstone


@proves("C1")
def the_backend_declares_what_its_harness_declares(bench: Bench) -> None:
    named, declared = bench.backend.capabilities, bench.harness.capabilities
    for capability in Capability:
        bench.same(capability in named, capability in declared, f"whether the backend itself declares {capability}")
    bench.mark("declared")


@proves("C1")
def listing_works_if_it_is_declared_and_is_refused_if_not(bench: Bench) -> None:
    places = [Key(machine, instance) for machine in ("m", "n") for instance in ("a", "a:1", "b", "é")]
    for place in reversed(places):
        bench.backend.store.commit(place, stored(1), 0)
    bench.backend.store.delete(places[1], tombstone(2), 1)
    places.pop(1)
    if Capability.SCAN not in bench.harness.capabilities:
        _is_unsupported(bench, Capability.SCAN, bench.backend.store.scan)
        return
    found = [place for place, _ in bench.another().store.scan()]
    bench.same(found, places, "listed")
    bench.same([place for place, _ in bench.backend.store.scan("m")], places[:3], "listed of the machine m")
    pages = list[Key]()
    while page := bench.backend.store.scan(after=pages[-1] if pages else None, limit=2):
        bench.holds(len(page) <= 2, f"a page of {len(page)} where 2 were asked for")
        pages += [place for place, _ in page]
    bench.same(pages, places, "listed in pages")
    bench.same(list(bench.backend.store.scan(status="done")), [], "listed with the status done")
    (_, first), *_ = bench.backend.store.scan(status="active")
    bench.same((first.version, first.index), (1, stored(1).index), "the version and the index that are listed")


@proves("C1")
def several_writes_go_together_if_it_is_declared_and_are_refused_if_not(bench: Bench) -> None:
    finish = partial(bench.backend.finish_all, [Write(key(name), stored(1), 0) for name in ("a", "b")])
    if Capability.JOINT_FINISH not in bench.harness.capabilities:
        _is_unsupported(bench, Capability.JOINT_FINISH, finish)
        return
    bench.same(dict(finish().refused), {}, "refused of two writes to new keys")
    bench.same(set(finish().refused), {key("a"), key("b")}, "refused of the same two writes once more")


def _is_unsupported(bench: Bench, capability: Capability, call: Callable[[], object]) -> None:
    try:
        call()
    except Unsupported:
        return
    bench.holds(False, f"{capability} is not declared, and what it stands for did not raise Unsupported")


@proves("C1", needs=Capability.JOINT_FINISH)
def a_write_may_bring_the_next_messages_with_it(bench: Bench) -> None:
    bench.send(message("1"), message("2"))
    held = bench.receives("1", limit=1)
    found = list(bench.backend.finish_all([Write(key(), stored(1), 0, acks=tuple(held))], receive=5).deliveries)
    found = found or bench.receive()
    bench.same([each.message.id for each in found], ["2"], "handed out with a write")
