"""Checks of D7: real processes are killed with SIGKILL while they write or work."""

from __future__ import annotations

import random
import time

from settled import Key
from settled.durable import Capability
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture
from settled_conformance.processes import Workforce, Writer, order_of, performed

ROUNDS = 4


@checks("D7")
def writes_confirmed_to_a_killed_process_are_kept(fixture: BackendFixture) -> None:
    opener = fixture.harness.opener()
    fixture.require(opener is not None, "no opener: only a backend of kind memory may have none")
    assert opener is not None
    source, confirmed = random.Random(7), 0
    for _ in range(ROUNDS):
        with Writer(opener, confirmed) as writer:
            time.sleep(0.05 + source.random() * 0.15)
            confirmed = writer.kill(confirmed)
        backend = opener()
        try:
            stored = backend.store.load(Writer.KEY)
            version = stored.version if stored else 0
            dead_letters = [each.message.id for each in backend.store.dead_letters(Writer.KEY)]
        finally:
            backend.close()
        fixture.require(
            version >= confirmed, f"version {confirmed} was answered, and {version} is stored after kill -9"
        )
        fixture.require_equal(
            dead_letters, [f"l{number}" for number in range(1, version + 1)], f"dead letters at version {version}"
        )
        confirmed = version
    fixture.require(confirmed > 0, "the process was killed before it was answered even once")
    _require_all_messages(fixture, confirmed)
    fixture.mark("killed")


def _require_all_messages(fixture: BackendFixture, versions: int) -> None:
    opener = fixture.harness.opener()
    assert opener is not None
    backend = opener()
    found = dict[Key, list[str]]()
    is_atomic = Capability.ATOMIC_FINISH in fixture.harness.capabilities
    expected = (Writer.SENT, Writer.OUTBOX) if is_atomic else (Writer.SENT,)
    end = time.monotonic() + 30.0
    while any(len(found.get(key, [])) < versions for key in expected) and time.monotonic() < end:
        deliveries = backend.queue.receive(100, 0.2)
        for delivery in deliveries:
            found.setdefault(delivery.message.key, []).append(delivery.message.id)
        backend.queue.ack(deliveries)
    backend.close()
    sent, came = [f"s{number}" for number in range(1, versions + 1)], found.get(Writer.SENT, [])
    if Capability.DEDUPLICATION not in fixture.harness.capabilities:
        came = list(dict.fromkeys(came))  # the next process repeats a send that was not followed by its commit
    # A send that was under way when the process was killed may have arrived too.
    fixture.require_equal(came[:versions], sent, "sends that were answered, after kill -9")
    if is_atomic:
        outbox = [f"o{number}" for number in range(1, versions + 1)]
        fixture.require_equal(
            found.get(Writer.OUTBOX, []), outbox, f"messages sent by {versions} commits, after kill -9"
        )


@checks("D7")
def killed_workers_lose_and_duplicate_nothing(fixture: BackendFixture) -> None:
    opener = fixture.harness.opener()
    if opener is None:
        return
    with Workforce(opener, workers=2) as workforce:
        workforce.send(instances="abc", events=12)
        for _ in range(5):
            time.sleep(0.5)
            workforce.kill_one()
        fixture.require(
            workforce.wait(instances="abc", events=12), f"not all was taken in time: {workforce.taken('abc')}"
        )
        for instance in "abc":
            fixture.require_equal(
                order_of(workforce, instance), [str(number) for number in range(12)], f"taken by {instance}"
            )
        keys = performed(workforce)
        fixture.require_equal(len(keys), 3 * 12, "effects that were performed, each under its own key")
