"""Checks of F10: a receive for some machines delivers their messages only, and at once."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from settled.durable import Backend, Capability, Delivery, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import MAX_WAIT, BackendFixture, ids_of, key, message, messages, stored, timer

M = key()
OTHER = key(machine="n")
THIRD = key(machine="o")

PROMPT = 1.0
"""Real seconds within which a message must end the wait of a receive. Receives that only poll may take longer."""


def _receive(fixture: BackendFixture, machines: Collection[str] | None, limit: int = 10) -> Sequence[Delivery]:
    return fixture.backend.queue.receive(limit, 0.0 if fixture.owns_time else 0.3, machines)


def _receives(
    fixture: BackendFixture, machines: Collection[str] | None, ids: str, limit: int = 10
) -> Sequence[Delivery]:
    """Receive once for `machines`, and require exactly the messages `ids`."""
    found = _receive(fixture, machines, limit)
    fixture.require_equal(ids_of(found), ids.split(), f"delivered to a receive for {machines}")
    return found


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_receive_for_one_machine_delivers_no_other(fixture: BackendFixture) -> None:
    fixture.send(message("x", OTHER), message("1"))
    _receives(fixture, {"m"}, "1")
    _receives(fixture, {"m"}, "")
    # Not leased either: it would be delivered only when that lease ends.
    _receives(fixture, {"n"}, "x")
    fixture.mark("received for one machine")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_receive_for_several_machines_delivers_those_of_each(fixture: BackendFixture) -> None:
    fixture.send(message("1"), message("x", OTHER), message("y", THIRD))
    # In two receives at most: those of a cluster go to one of its servers after the other.
    found = [*_receive(fixture, ["m", "o"]), *_receive(fixture, ["m", "o"])]
    fixture.require_equal(sorted(ids_of(found)), ["1", "y"], "delivered to receives for m and o")
    _receives(fixture, None, "x")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_receive_for_no_machine_delivers_nothing(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    _receives(fixture, (), "")
    _receives(fixture, None, "1")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def similar_ids_of_machines_are_told_apart(fixture: BackendFixture) -> None:
    machines = ["m", "mm", "M", "m/a", "m%2Fa", "m:", "m*", "\u00e9", "e\u0301", "m" * 200]
    for number, machine in enumerate(machines):
        fixture.send(message(str(number), key(machine=machine)))
    for number, machine in enumerate(machines):
        _receives(fixture, {machine}, str(number))


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_long_backlog_of_another_machine_is_passed_over(fixture: BackendFixture) -> None:
    count = fixture.many(1050, few=120)
    fixture.send_together([message("x", key(str(number), "n")) for number in range(count)])
    fixture.send(message("1"))
    fixture.mark("another machine had a backlog")
    # Several times: a queue could pass over the backlog once, and be left with nothing at its head.
    for id in ("1", "2", "3"):
        fixture.backend.queue.ack(_receives(fixture, {"m"}, id, limit=1))
        fixture.send(message(str(int(id) + 1)))


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_backlog_of_one_machine_does_not_starve_another_in_a_receive_for_both(fixture: BackendFixture) -> None:
    fixture.send(*(message(str(number), key(str(number))) for number in range(12)), message("x", OTHER))
    for _ in range(40):
        found = _receive(fixture, ["m", "n"], limit=1)
        if "x" in ids_of(found):
            return
        fixture.backend.queue.ack(found)
        fixture.send(*(message(f"{each.message.id}.", each.message.key) for each in found))
    fixture.require(False, "the keys of one machine were delivered 40 times before the only one of another")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def the_messages_of_a_key_stay_in_order_whoever_receives_them(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.ack(_receives(fixture, {"m"}, "1", limit=1))
    held = _receives(fixture, None, "2", limit=1)
    # One lease for the key, whoever asks.
    _receives(fixture, {"m"}, "")
    fixture.backend.queue.release(held)
    fixture.advance(fixture.harness.tick)
    _receives(fixture, {"m", "n"}, "2 3")
    fixture.advance(fixture.lease + fixture.harness.tick)
    _receives(fixture, {"m"}, "2 3")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def whoever_receives_ends_the_leases_and_fires_the_timers_of_all(fixture: BackendFixture) -> None:
    fixture.send(message("x", OTHER))
    _receives(fixture, {"n"}, "x")
    fixture.backend.timers.schedule(timer("y", fixture.backend.now() + fixture.lease / 2, THIRD))
    fixture.advance(fixture.lease + fixture.harness.tick)
    _receives(fixture, {"m"}, "")
    _receives(fixture, {"n"}, "x")
    _receives(fixture, {"o"}, "y")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_joint_write_returns_messages_of_the_machines_that_are_asked_for(fixture: BackendFixture) -> None:
    if Capability.JOINT_FINISH not in fixture.harness.capabilities:
        return
    fixture.send(message("x", OTHER), message("1"))
    found = list(fixture.backend.finish_all([Write(key("b"), stored(1), 0)], 5, {"m"}).deliveries)
    fixture.require_equal(ids_of(found or _receive(fixture, {"m"})), ["1"], "delivered with a write")
    _receives(fixture, {"n"}, "x")


@checks("F10", needs=Capability.SELECTIVE_RECEIVE)
def a_message_ends_the_wait_of_a_receive_for_its_machine(fixture: BackendFixture) -> None:
    # Through unchecked handles: the model cannot follow calls from several threads.
    first, second, sender = (fixture.open_handle().backend for _ in range(3))
    with ThreadPoolExecutor(2) as pool:
        for_m, for_n = pool.submit(_wait, first, "m"), pool.submit(_wait, second, "n")
        time.sleep(0.2)  # both are waiting now, or it makes no difference
        sent = time.monotonic()
        sender.queue.send([message("x", OTHER)])
        (other, other_at), is_waiting = for_n.result(), not for_m.done()
        fixture.require(is_waiting, "a message of n ended the wait for m")
        fixture.require_equal(ids_of(other), ["x"], "delivered to a receive for n that waited")
        fixture.require(other_at - sent < PROMPT, f"the wait for n ended after {other_at - sent:.1f} s")
        sent = time.monotonic()
        sender.queue.send([message("1")])
        found, at = for_m.result()
        fixture.require_equal(ids_of(found), ["1"], "delivered to a receive for m that waited")
        fixture.require(at - sent < PROMPT, f"the wait for m ended after {at - sent:.1f} s")


def _wait(backend: Backend, machine: str) -> tuple[Sequence[Delivery], float]:
    """Receive until there is something for `machine`; return it, and when it came, by this process's clock."""
    end = time.monotonic() + MAX_WAIT
    while not (found := backend.queue.receive(1, MAX_WAIT / 2, {machine})) and time.monotonic() < end:
        time.sleep(0.005)  # a backend whose time is the suite's may return at once
    return found, time.monotonic()
