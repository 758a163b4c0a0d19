"""`SCENARIOS`: all scenarios that are explored."""

from __future__ import annotations

from collections.abc import Sequence

from settled_conformance.simulator.fault_scenarios import FAULT_SCENARIOS
from settled_conformance.simulator.machine_scenario import APPEND, BOB, POISON, TELL, MachineScenario, messages_to, of
from settled_conformance.simulator.machines import appender, family, fan, signup
from settled_conformance.simulator.port_scenario import PortScenario
from settled_conformance.simulator.random_machines import random_events, random_machine
from settled_conformance.simulator.scenario import Scenario
from settled_conformance.simulator.suspension_scenarios import SUSPENSION_SCENARIOS


def _random(number: int) -> MachineScenario:
    return MachineScenario(
        f"random-{number}",
        lambda fault_switch, lease: [random_machine(number, lease)],
        [messages_to(of(f"random{number}"), "a", random_events(number))],
        weight=0.2,
    )


SCENARIOS: Sequence[Scenario] = (
    PortScenario(),
    MachineScenario(
        "append",
        lambda fault_switch, lease: [appender(fault_switch)],
        [
            messages_to(of("appender"), "a", [APPEND, TELL, APPEND, TELL]),
            messages_to(of("appender", BOB), "b", [TELL, APPEND])
            + messages_to(of("appender"), "c", [APPEND], start=False),
        ],
    ),
    MachineScenario(
        "poison",
        lambda fault_switch, lease: [appender(fault_switch)],
        [
            messages_to(of("appender"), "a", [TELL, POISON, APPEND, TELL]),
            messages_to(of("appender", BOB), "b", [APPEND]),
        ],
    ),
    MachineScenario(
        "skip",
        lambda fault_switch, lease: [appender(fault_switch)],
        [messages_to(of("appender"), "a", [TELL, POISON, APPEND, TELL])],
        weight=0.3,
        failed_events="skip",
    ),
    MachineScenario(
        "signup",
        lambda fault_switch, lease: [signup(lease)],
        [
            messages_to(
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
    MachineScenario(
        "fan",
        lambda fault_switch, lease: [fan(lease)],
        [messages_to(of("fan"), "a", [{"type": "GO"}, {"type": "GO"}])],
    ),
    MachineScenario(
        "family",
        lambda fault_switch, lease: family(lease),
        [
            messages_to(
                of("parent"),
                "a",
                [{"type": "GO"}, {"type": "HELLO"}, {"type": "HELLO"}, {"type": "LEAVE"}, {"type": "GO"}],
            )
        ],
    ),
    *map(_random, range(10)),
    *FAULT_SCENARIOS,
    *SUSPENSION_SCENARIOS,
)
