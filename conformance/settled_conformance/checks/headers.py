"""Checks of D8: the headers of a message are with it wherever it goes, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Key
from settled.durable import Capability, DeadLetter, Delivery, Message, Timer, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, stored

TRACE: Mapping[str, str] = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}

HEADERS: Sequence[Mapping[str, str]] = (
    TRACE,
    {"a": "", "0.-_": " ", "z" * 64: " two words "},
    {"quoted": '"\\"', "markup": "<&>;", "percent": "%41%", "text": "null", "number": "01.0", "other": "été 🙂"},
    {f"header-{number}": "x" * 240 for number in range(16)},
    {"long": "y" * 1024},
    {},
)
"""All that a message may have; none, too, between those that have some."""


def _messages(target: Key) -> list[Message]:
    return [evolve(message(f"m{number}", target), headers=headers) for number, headers in enumerate(HEADERS)]


def _of(deliveries: Sequence[Delivery]) -> list[Message]:
    return [delivery.message for delivery in deliveries]


def _require_headers(fixture: BackendFixture, messages: Sequence[Message], what: str) -> None:
    found = {each.id: dict(each.headers) for each in messages}
    for number, expected in enumerate(HEADERS):
        headers = found.get(f"m{number}")
        fixture.require(headers == expected, f"{what}: {str(headers)[:200]}, expected {str(expected)[:200]}")


@checks("D8")
def headers_come_back_in_each_delivery(fixture: BackendFixture) -> None:
    fixture.send_together(_messages(key()))
    ids = [each.id for each in _messages(key())]
    held = fixture.receives(*ids)
    _require_headers(fixture, _of(held), "delivered")
    fixture.backend.queue.release(held)
    held = fixture.receives(*ids, through=fixture.open_handle())
    _require_headers(fixture, _of(held), "delivered after a release")
    fixture.advance(fixture.lease + fixture.harness.tick)
    _require_headers(fixture, _of(fixture.receives(*ids)), "delivered after the lease ended")
    fixture.mark("headers")


@checks("D8")
def headers_of_sends_and_timers_of_a_write_come_back(fixture: BackendFixture) -> None:
    now = fixture.harness.now()
    sent, timed = _messages(key("sent")), _messages(key("timed"))
    timers = tuple(Timer(each.id, each, now) for each in timed)
    fixture.backend.finish(Write(key(), stored(1), 0, sends=tuple(sent), timers=timers))
    fixture.advance(fixture.harness.tick)
    found = list[Message]()
    while some := fixture.receive(limit=10):
        found += _of(some)
        fixture.backend.queue.ack(some)
    for target in ("sent", "timed"):
        _require_headers(fixture, [each for each in found if each.key == key(target)], target)


@checks("D8")
def headers_of_a_timer_come_back_in_each_delivery(fixture: BackendFixture) -> None:
    now = fixture.harness.now()
    for each in _messages(key()):
        target = key(each.id)
        fixture.open_handle().timers.schedule(Timer(each.id, evolve(each, key=target), now))
        fixture.advance(fixture.harness.tick)
        for _ in range(2):
            held = fixture.receives(each.id)
            fixture.require_equal(held[0].message.headers, each.headers, "the headers of a timer")
            fixture.backend.queue.release(held)
        fixture.backend.queue.ack(fixture.receives(each.id))


# Elsewhere the former timer may be sent too, and the new one be its repetition.
@checks("D8", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def a_timer_that_is_replaced_has_the_new_headers(fixture: BackendFixture) -> None:
    due = fixture.harness.now() + fixture.lease / 3
    for value in ("old", "new"):
        late = evolve(message("t"), headers={"value": value})
        fixture.backend.timers.schedule(Timer("t", late, due))
    fixture.advance(fixture.lease / 3 + fixture.harness.tick)
    (held,) = fixture.receives("t")
    fixture.require_equal(held.message.headers, {"value": "new"}, "the headers of a replaced timer")


@checks("D8")
def headers_of_a_dead_letter_come_back(fixture: BackendFixture) -> None:
    dead = [DeadLetter(each, "it failed", 11.25, "again") for each in _messages(key())]
    fixture.backend.store.commit(key(), stored(1), 0, dead[:3])
    fixture.backend.finish(Write(key(), stored(2), 1, add_dead_letters=tuple(dead[3:])))
    found = [each.message for each in fixture.open_handle().store.dead_letters(key())]
    _require_headers(fixture, found, "dead letters")


@checks("D8")
def a_repetition_with_other_headers_is_no_other_message(fixture: BackendFixture) -> None:
    first = evolve(message("1"), headers=TRACE)
    fixture.send_together([first])
    fixture.send_together([evolve(first, headers={"other": "1"})])
    fixture.send_together([evolve(first, headers={})])
    held = fixture.receive(limit=1)
    fixture.require_equal([each.message for each in held], [first], "delivered of a message that was repeated")
    fixture.backend.queue.ack(held)
