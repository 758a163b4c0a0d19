"""``python -m bench.storm.hostile``: a client that sends what no client should, to instances of others as well.

What goes through `Client` beyond its limits must be refused. What is put into the queue past it, or is not forbidden,
must not change any other message's fate. Whatever happens must be an error that is meant for callers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field

from bench.storm.journals import Attempted, Sent, now
from bench.storm.machine import MACHINE_ID, version_1
from bench.storm.settings import Settings
from settled import Key, OutcomeUnknownError, SettledError, UnavailableError, setup
from settled.durable import Backend, Message
from settled.durable.headers import NO_HEADERS
from settled_runtime import Client, connect

OWN = "hostile"
"""The instance of this client. Every message that it makes up has this word in its id or in its body."""

UNSERVED = "unserved"
"""The id of a machine that no worker serves."""

INTERVAL = 0.1
"""The mean pause between two attacks, in seconds."""

REFUSED, ACCEPTED, UNAVAILABLE, CRASHED = "refused", "accepted", "unavailable", "crashed"

unserved = setup().machine({"id": UNSERVED, "initial": "a", "states": {"a": {"tags": ["settled"]}}})


@define
class Attacker:
    """The backend, the names and the randomness that the attacks use.

    Attributes:
        sent: events that other clients have sent so far: their instances, numbers and types.
    """

    backend: Backend
    random: Random
    names: list[str]
    sent: list[tuple[str, int, str]] = field(factory=list[tuple[str, int, str]])

    @property
    def client(self) -> Client[Any]:
        return Client(version_1, self.backend)

    def someone(self) -> str:
        return self.random.choice([OWN, *self.names])

    def id(self) -> str:
        return f"{OWN}-{self.random.getrandbits(64):x}"

    def queue(self, body: str, *, id: str | None = None, instance: str | None = None) -> None:
        """Put a message into the queue, past all checks."""
        key = Key(MACHINE_ID, self.someone() if instance is None else instance)
        self.backend.queue.send([Message(key, id or self.id(), body)])

    def say(self, event: Any, *, id: str | None = None, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Send `event` to someone."""
        self.client.send(self.someone(), event, message_id=id or self.id(), headers=headers)

    def send_again(self, *, same: bool) -> None:
        """Use the id of another client's event, with its body or with another one."""
        if self.sent:
            instance, n, type = self.random.choice(self.sent)
            event = {"type": type, "n": n} if same else {"type": "TAKE", "n": -1, "by": OWN}
            self.client.send(instance, event, message_id=f"{instance}-{n}")


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


BEYOND_LIMITS: Mapping[str, Callable[[Attacker], object]] = {
    "an event too deep": lambda a: a.say({"type": "TAKE", "n": -1, "x": nested(80)}),
    "an event far too deep": lambda a: a.say({"type": "TAKE", "n": -1, "x": nested(5000)}),
    "an event too large": lambda a: a.say({"type": "TAKE", "n": -1, "x": "x" * 2_000_000}),
    "a number that is none": lambda a: a.say({"type": "TAKE", "n": "seven"}),
    "a missing field": lambda a: a.say({"type": "TAKE"}),
    "a type that is no text": lambda a: a.say({"type": 5}),
    "no event": lambda a: a.say("TAKE"),
    "not JSON": lambda a: a.say({"type": "OTHER", "x": {1, 2}}),
    "not a number": lambda a: a.say({"type": "OTHER", "x": float("nan")}),
    "a reserved type": lambda a: a.say({"type": "xstate.done.actor.work", "output": -1}),
    "an id of 8 kB": lambda a: a.say({"type": "OTHER"}, id="i" * 8192),
    "a reserved id": lambda a: a.say({"type": "OTHER"}, id="settled:timer"),
    "a name of 8 kB": lambda a: a.client.start("n" * 8192),
    "no name": lambda a: a.client.start(""),
    "the name of a child": lambda a: a.client.start(f"{OWN}/~child"),
    "too many headers": lambda a: a.say({"type": "OTHER"}, headers={f"h{n}": "x" for n in range(99)}),
}
"""Attacks that `Client` must refuse."""

HARMLESS: Mapping[str, Callable[[Attacker], object]] = {
    "an event again": lambda a: a.send_again(same=True),
    "another event under its id": lambda a: a.send_again(same=False),
    "a second start": lambda a: a.client.start(a.someone(), message_id=a.id()),
    "an event that nothing takes": lambda a: a.say({"type": "OTHER", "x": [1, 2]}),
    "an instance that was not started": lambda a: a.client.send("nobody", {"type": "TAKE", "n": -1}),
    "a machine that is not served": lambda a: Client(unserved, a.backend).start("x", message_id=OWN),
    "queued: half a text": lambda a: a.queue('{"kind": "event", "event": {"type": "TA'),
    "queued: no text": lambda a: a.queue(""),
    "queued: no object": lambda a: a.queue("[[]]"),
    "queued: another kind": lambda a: a.queue('{"kind": "drop"}'),
    "queued: no event": lambda a: a.queue('{"kind": "event", "event": 5}'),
    "queued: a type that is no text": lambda a: a.queue('{"kind": "event", "event": {"type": 5}}'),
    "queued: a number that is none": lambda a: a.queue('{"kind": "event", "event": {"type": "TAKE", "n": "x"}}'),
    "queued: a number that is infinite": lambda a: a.queue('{"kind": "event", "event": {"type": "TAKE", "n": 1e999}}'),
    "queued: a reserved type": lambda a: a.queue('{"kind": "event", "event": {"type": "xstate.init"}}'),
    "queued: a result of an actor": lambda a: a.queue(
        '{"kind": "event", "event": {"type": "xstate.done.actor.work", "output": 1}}'
    ),
    "queued: a timer": lambda a: a.queue('{"kind": "timer", "token": "1"}'),
    "queued: the end of a child": lambda a: a.queue(
        '{"kind": "child-ended", "child": "work", "generation": "1", "done": true, "data": 1}'
    ),
    "queued: a stop": lambda a: a.queue('{"kind": "stop", "generation": "1"}'),
    "queued: far too deep": lambda a: a.queue(
        '{"kind": "event", "event": {"type": "TAKE", "n": ' + "[" * 9000 + "]" * 9000 + "}}"
    ),
    "queued: too large": lambda a: a.queue(
        '{"kind": "event", "event": {"type": "OTHER", "x": "' + "x" * 2_000_000 + '"}}', instance=OWN
    ),
    "queued: an id of 8 kB": lambda a: a.queue(
        '{"kind": "event", "event": {"type": "OTHER"}}', id=a.id() + "i" * 8192, instance=OWN
    ),
}
"""Attacks that may be sent, and must do no harm."""


def run(settings: Settings) -> None:
    """Attack in every way, again and again, until the storm is over."""
    random = Random(settings.seed)
    types = {(event.instance, event.n): event.type for event in settings.plan()}
    attacks = [*BEYOND_LIMITS.items(), *HARMLESS.items()]
    end = settings.began + settings.seconds
    with connect(settings.url) as backend:
        attacker = Attacker(backend, random, sorted({event.instance for event in settings.plan()}))
        attempt(lambda attacker: attacker.client.start(OWN, message_id=f"{OWN}-start"), attacker)
        while True:
            sent = [(entry.instance, entry.n) for entry in settings.journals.read(Sent) if entry.n]
            attacker.sent = [(*event, types[event]) for event in sent[-200:]]
            for name, attack in random.sample(attacks, len(attacks)):
                settings.journals.write(Attempted(now(), name, attempt(attack, attacker)))
                time.sleep(random.uniform(0, max(0.0, min(2 * INTERVAL, end - now()))))
            if now() > end:
                return


def attempt(attack: Callable[[Attacker], object], attacker: Attacker) -> str:
    """Return how `attack` ended; one that crashed is `CRASHED`, with its error."""
    try:
        attack(attacker)
    except (UnavailableError, OutcomeUnknownError):
        return UNAVAILABLE
    except (SettledError, TypeError, ValueError):
        return REFUSED
    except Exception as error:
        return f"{CRASHED}: {type(error).__name__}: {error}"
    return ACCEPTED


if __name__ == "__main__":
    run(Settings.from_environment())
