"""The scenarios that are explored: who is there, and what they want. What happens to them is the tape's."""

from __future__ import annotations

from collections.abc import Sequence

from settled_conformance.simulator.fault_scenarios import HAZARDS
from settled_conformance.simulator.machine_scenario import APPEND, BOB, POISON, TELL, Story, letters, of
from settled_conformance.simulator.machines import appender, family, fan, signup
from settled_conformance.simulator.port_scenario import Ports
from settled_conformance.simulator.random_machines import random_events, random_machine
from settled_conformance.simulator.scenario import Scenario


def _random(number: int) -> Story:
    return Story(
        f"random-{number}",
        lambda weather, lease: [random_machine(number, lease)],
        [letters(of(f"random{number}"), "a", random_events(number))],
        weight=0.2,
    )


SCENARIOS: Sequence[Scenario] = (
    Ports(),
    Story(
        "append",
        lambda weather, lease: [appender(weather)],
        [
            letters(of("appender"), "a", [APPEND, TELL, APPEND, TELL]),
            letters(of("appender", BOB), "b", [TELL, APPEND]) + letters(of("appender"), "c", [APPEND], start=False),
        ],
    ),
    Story(
        "poison",
        lambda weather, lease: [appender(weather)],
        [
            letters(of("appender"), "a", [TELL, POISON, APPEND, TELL]),
            letters(of("appender", BOB), "b", [APPEND]),
        ],
    ),
    Story(
        "signup",
        lambda weather, lease: [signup(lease)],
        [
            letters(
                of("signup"),
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
        [letters(of("fan"), "a", [{"type": "GO"}, {"type": "GO"}])],
    ),
    Story(
        "family",
        lambda weather, lease: family(lease),
        [
            letters(
                of("parent"),
                "a",
                [{"type": "GO"}, {"type": "HELLO"}, {"type": "HELLO"}, {"type": "LEAVE"}, {"type": "GO"}],
            )
        ],
    ),
    *map(_random, range(10)),
    *HAZARDS,
)
