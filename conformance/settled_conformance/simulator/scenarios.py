"""The scenarios that are explored: who is there, and what they want. What happens to them is the tape's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import frozen

from settled import Event, Json, Key, Machine, Message, Policy, Start, encode
from settled_conformance.place import Place
from settled_conformance.simulator.kernel import Kernel, Task
from settled_conformance.simulator.machines import Weather, appender, family, fan, signup
from settled_conformance.simulator.people import client, operator, worker
from settled_conformance.simulator.ports import Ports
from settled_conformance.simulator.random_machines import random_events, random_machine
from settled_conformance.simulator.scenario import Run, Scenario
from settled_conformance.simulator.simulation import Simulation
from settled_conformance.simulator.tape import Tape


@frozen(eq=False)
class Story:
    """`clients` are what each client sends, in order; `workers` how many there are; `weight` is its share of time."""

    name: str
    machines: Callable[[Weather, float], Iterable[Machine[Any, Any]]]
    clients: Sequence[Sequence[Message]]
    workers: int = 2
    weight: float = 1.0

    def run(self, place: Place, tape: Tape) -> Run:
        """One run at `place`, which must be empty."""
        weather, machines = _cast(self, place.lease)
        weather.mended = False
        harness = place.harness
        kernel = Kernel(tape, harness.now, harness.tick, place.lease, harness.advance, place.fell)
        place.contract.heard.append(kernel.say)
        simulation = Simulation(kernel, place, machines, Policy(lease=place.lease, max_attempts=2))
        for number, messages in enumerate(self.clients, 1):
            kernel.tasks.append(Task(f"c{number}", client(simulation, messages)))
        for number in range(1, self.workers + 1):
            kernel.tasks.append(Task(f"w{number}", worker(simulation)))
        kernel.at_rest.append(lambda: _mend(simulation, weather))
        simulation.close(kernel.run())
        return Run(place.violations, kernel.timeline, frozenset(kernel.marks))


@cache
def _cast(story: Story, lease: float) -> tuple[Weather, Mapping[str, Machine[Any, Any]]]:
    """The machines, compiled once; nothing of a run stays in them but the weather."""
    weather = Weather()
    return weather, {machine.id: machine for machine in story.machines(weather, lease)}


def _mend(simulation: Simulation, weather: Weather) -> bool:
    """An operator mends the machine and redrives what was halted."""
    weather.mended = True
    halted = [key for key in simulation.judges if (record := simulation.record(key)) and record.halted]
    for key in halted:
        simulation.kernel.mark("redrive")
        simulation.kernel.add(Task(f"o-{key.instance}-{simulation.kernel.trips}", operator(simulation, key)))
    return bool(halted)


def _letters(key: Key, sender: str, events: Sequence[Mapping[str, Json]], start: bool = True) -> list[Message]:
    first = [Message(key, f"{sender}.start", encode(Start(None)))] if start else []
    rest = [
        Message(key, f"{sender}.{number}", encode(Event({"id": f"{sender}{number}", **event})))
        for number, event in enumerate(events, 1)
    ]
    return first + rest


APPEND: Mapping[str, Json] = {"type": "APPEND"}
TELL: Mapping[str, Json] = {"type": "TELL"}
POISON: Mapping[str, Json] = {"type": "APPEND", "poison": True}
ADA, BOB = "ada", "A:1"


def _of(machine: str, instance: str = ADA) -> Key:
    return Key(machine, instance)


def _random(number: int) -> Story:
    return Story(
        f"random-{number}",
        lambda weather, lease: [random_machine(number, lease)],
        [_letters(_of(f"random{number}"), "a", random_events(number))],
        weight=0.2,
    )


SCENARIOS: Sequence[Scenario] = (
    Ports(),
    Story(
        "append",
        lambda weather, lease: [appender(weather)],
        [
            _letters(_of("appender"), "a", [APPEND, TELL, APPEND, TELL]),
            _letters(_of("appender", BOB), "b", [TELL, APPEND]) + _letters(_of("appender"), "c", [APPEND], start=False),
        ],
    ),
    Story(
        "poison",
        lambda weather, lease: [appender(weather)],
        [
            _letters(_of("appender"), "a", [TELL, POISON, APPEND, TELL]),
            _letters(_of("appender", BOB), "b", [APPEND]),
        ],
    ),
    Story(
        "signup",
        lambda weather, lease: [signup(lease)],
        [
            _letters(
                _of("signup"),
                "a",
                [
                    {"type": "SUBMIT", "email": "a@b"},
                    {"type": "VERIFY", "code": 2},
                    {"type": "SUBMIT", "email": "c@d"},
                    {"type": "VERIFY", "code": 1},
                ],
            )
        ],
    ),
    Story(
        "fan",
        lambda weather, lease: [fan(lease)],
        [_letters(_of("fan"), "a", [{"type": "GO"}, {"type": "GO"}])],
    ),
    Story(
        "family",
        lambda weather, lease: family(lease),
        [
            _letters(
                _of("parent"),
                "a",
                [{"type": "GO"}, {"type": "HELLO"}, {"type": "HELLO"}, {"type": "LEAVE"}, {"type": "GO"}],
            )
        ],
    ),
    *map(_random, range(10)),
)
