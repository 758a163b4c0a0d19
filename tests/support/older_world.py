"""The instances that a backend of an older settled holds in the tests of its migration, and how they go on.

The files that hold it were written by that settled: at `STARTED`, `waiting` has its timer, `charging` was left by a
dead worker in the middle of its turn, `halted` has dead letters, `queued` has an event and `new` its start in the
queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from settled import Key, Machine, actor, setup
from settled.durable import Backend, Message
from settled_runtime import Client, Host
from tests.adapters.local.fixtures import LEASE, Clock

STARTED = 1_000_000.0
"""When it was written, in seconds since the epoch."""

PAY = '{"kind":"event","event":{"type":"PAY"}}'


def machine() -> Machine[Any]:
    return setup(
        guards={"sound": lambda a: True},
        actors={"charge": actor(lambda input, call: "receipt")},
        delays={"patience": timedelta(hours=1)},
    ).machine(
        {
            "id": "order",
            "initial": "basket",
            "states": {
                "basket": {
                    "tags": ["settled"],
                    "on": {"PAY": "charging", "CHECK": {"guard": "sound", "target": "checked"}},
                    "after": {"patience": "expired"},
                },
                "charging": {"invoke": {"src": "charge", "onDone": "paid"}},
                "checked": {"tags": ["settled"], "on": {"PAY": "charging"}},
                "paid": {"type": "final"},
                "expired": {"type": "final"},
            },
        }
    )


def work(backend: Backend) -> None:
    """Run turns until nothing is left to receive."""
    host = Host([machine()], backend)
    while deliveries := backend.queue.receive(10):
        host.handle(deliveries)
    host.close()


def states(backend: Backend) -> Mapping[str, str]:
    """Return the state of each instance, by its name."""
    client = Client(machine(), backend)
    found = {key.instance: client.get(key.instance) for key, _ in backend.store.scan()}
    return {instance: str(snapshot.value) for instance, snapshot in found.items() if snapshot is not None}


class OlderInstances:
    """Tests of the instances in a migrated `backend`, whose `clock` begins at `STARTED`."""

    def test_go_on(self, backend: Backend, clock: Clock) -> None:
        work(backend)
        assert states(backend) == {
            "waiting": "basket",
            "charging": "charging",
            "halted": "basket",
            "queued": "paid",
            "new": "basket",
        }
        clock.now += LEASE
        work(backend)
        assert states(backend)["charging"] == "paid"
        clock.now += 3600
        work(backend)
        assert states(backend) == {
            "waiting": "expired",
            "charging": "paid",
            "halted": "basket",
            "queued": "paid",
            "new": "expired",
        }

    def test_take_their_dead_letters_after_a_redrive(self, backend: Backend) -> None:
        key = Key("order", "halted")
        assert [each.message.id for each in backend.store.dead_letters(key)] == ["halted-check", "halted-pay"]
        assert Client(machine(), backend).redrive("halted") == 2
        work(backend)
        assert states(backend)["halted"] == "paid"
        assert list(backend.store.dead_letters(key)) == []

    def test_take_no_message_again(self, backend: Backend) -> None:
        work(backend)
        before = backend.store.load(Key("order", "queued"))
        backend.queue.send([Message(Key("order", "queued"), "queued-pay", PAY)])
        work(backend)
        assert backend.store.load(Key("order", "queued")) == before

    def test_may_get_messages_with_headers(self, backend: Backend) -> None:
        work(backend)
        sent = Message(Key("order", "waiting"), "m", PAY, {"traceparent": "00-1"})
        backend.queue.send([sent])
        assert [each.message for each in backend.queue.receive(1)] == [sent]
