"""The audit of a storm finds whatever must not happen, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from bench.storm.audit import Instance, Remains, violations, waits
from bench.storm.journals import Attempted, Performed, Received, Sent, Struck
from bench.storm.settings import Event

EVENTS = {
    "healthy-0": ("TAKE", "WORK", "TAKE"),
    "healthy-1": ("TAKE", "WAIT"),
    "killer-0": ("KILL", "TAKE"),
    "hanger-0": ("HANG",),
    "guarded-0": ("ASK",),
}
HANG = "ERROR account/guarded-0: hangs for 5 s in the machine's functions, guard_that_hangs (machine.py:1)"


def remains() -> Remains:
    """Return what a storm leaves behind in which all went well: each event is sent at 10 s, and performed at 12 s."""
    plan = [Event(0.0, name, n, type) for name, types in EVENTS.items() for n, type in enumerate(types, 1)]
    return Remains(
        plan=plan,
        instances={
            "healthy-0": Instance((1, 2, 3)),
            "healthy-1": Instance((1, 2)),
            "killer-0": Instance((1, 2), ((1, "WorkerLost"),)),
            "hanger-0": Instance((1,), ((1, "TimeoutError"),)),
            "guarded-0": Instance((1,)),
        },
        sent=[Sent(10.0, event.instance, event.n) for event in plan],
        performed=[Performed(12.0, event.instance, event.n, f"{event.instance}/{event.n}") for event in plan],
        received=[Received(11.0, name, 1) for name in EVENTS],
        attempted=[Attempted(5.0, "not JSON", "refused"), Attempted(6.0, "a second start", "accepted")],
        struck=[Struck(9.5, "frozen", 1, 20.5)],
        waiting=0,
        ends={"killed": 3, "ended by an actor": 2, "stopped": 4},
        hangs=[HANG],
        began=0.0,
        starts=[0.5, 0.25],
        longest_lease=5.0,
    )


def with_instance(name: str, instance: Instance) -> Remains:
    return evolve(remains(), instances={**remains().instances, name: instance})


def with_performed(*performed: Performed, without: tuple[str, int] | None = None) -> Remains:
    kept = [entry for entry in remains().performed if (entry.instance, entry.n) != without]
    return evolve(remains(), performed=[*kept, *performed])


def without_instance(name: str) -> Remains:
    return evolve(remains(), instances={key: value for key, value in remains().instances.items() if key != name})


DOCTORED: dict[str, tuple[Callable[[], Remains], set[str]]] = {
    "an event in the middle is missing": (lambda: with_instance("healthy-0", Instance((1, 3))), {"lost"}),
    "the last event is missing": (lambda: with_instance("healthy-0", Instance((1, 2))), {"lost"}),
    "an instance is missing": (lambda: without_instance("healthy-1"), {"lost"}),
    "an event of a guarded instance is missing": (lambda: with_instance("guarded-0", Instance(())), {"lost"}),
    "an event was taken twice": (lambda: with_instance("healthy-0", Instance((1, 2, 2, 3))), {"taken twice"}),
    "two events changed places": (lambda: with_instance("healthy-0", Instance((2, 1, 3))), {"out of order"}),
    "the event of an intruder was taken": (lambda: with_instance("healthy-1", Instance((1, 2, 7))), {"invented"}),
    "an instance is halted": (lambda: with_instance("healthy-1", Instance((1, 2), (), "halted")), {"halted"}),
    "an instance has ended": (lambda: with_instance("healthy-1", Instance((1, 2), (), "error")), {"ended"}),
    "an instance has a dead letter": (
        lambda: with_instance("healthy-1", Instance((1, 2), dead_letters=("failed 5 times",))),
        {"dead letter"},
    ),
    "a client has not sent all": (lambda: evolve(remains(), sent=remains().sent[1:]), {"not sent"}),
    "a message waits in the queue": (lambda: evolve(remains(), waiting=1), {"still waiting"}),
    "an effect is missing": (lambda: with_performed(without=("healthy-0", 2)), {"effect missing"}),
    "an effect has another key": (
        lambda: with_performed(Performed(13.0, "healthy-0", 2, "another")),
        {"effect without a commit"},
    ),
    "an effect is that of no event": (
        lambda: with_performed(Performed(13.0, "healthy-0", 9, "another")),
        {"effect without a commit"},
    ),
    "a key names two effects": (
        lambda: with_performed(Performed(12.0, "healthy-0", 2, "healthy-0/1"), without=("healthy-0", 2)),
        {"key used twice"},
    ),
    "the loss of a worker is not told": (lambda: with_instance("killer-0", Instance((1, 2))), {"another failure"}),
    "a healthy function failed": (
        lambda: with_instance("healthy-0", Instance((1, 2, 3), ((2, "WorkerLost"),))),
        {"another failure"},
    ),
    "a timeout has another error": (
        lambda: with_instance("hanger-0", Instance((1,), ((1, "ValueError"),))),
        {"another failure"},
    ),
    "the watchdog was silent": (lambda: evolve(remains(), hangs=()), {"hang not reported"}),
    "the watchdog named another function": (
        lambda: evolve(remains(), hangs=[HANG.replace("guard_that_hangs", "note")]),
        {"hang not reported"},
    ),
    "a worker failed by itself": (
        lambda: evolve(remains(), ends={"ended with exit code 1": 1}),
        {"worker failed"},
    ),
    "what is beyond a limit was accepted": (
        lambda: evolve(remains(), attempted=[Attempted(5.0, "not JSON", "accepted")]),
        {"not refused"},
    ),
    "a client crashed": (
        lambda: evolve(remains(), attempted=[Attempted(5.0, "a second start", "crashed: KeyError: 1")]),
        {"not refused"},
    ),
    "nobody received it": (
        lambda: evolve(remains(), longest_lease=0.4),
        {"waited too long"},
    ),
}


def test_a_storm_that_went_well_has_no_violations() -> None:
    assert list(violations(remains())) == []


@pytest.mark.parametrize("what", DOCTORED)
def test_it_finds_that(what: str) -> None:
    doctored, found = DOCTORED[what]
    assert {violation.what for violation in violations(doctored())} == found


class TestAWait:
    def test_is_measured_from_the_send_to_the_effect(self) -> None:
        assert {wait.total for wait in waits(remains())} == {2.0}

    def test_is_measured_for_healthy_instances_only(self) -> None:
        assert {wait.instance for wait in waits(remains())} == {"healthy-0", "healthy-1"}

    def test_is_divided_by_the_receives_of_the_instance(self) -> None:
        received = [Received(10.5, "healthy-0", 1), Received(11.75, "healthy-0", 2), Received(99.0, "healthy-0", 3)]
        doctored = evolve(remains(), received=received)
        assert {wait.longest for wait in waits(doctored) if wait.instance == "healthy-0"} == {1.25}
        assert {wait.longest for wait in waits(doctored) if wait.instance == "healthy-1"} == {2.0}

    @pytest.mark.parametrize(("limit", "judged"), [(1.0, 1.5), (1.875, 0.25)])
    def test_is_judged_from_a_strike_on_that_may_have_hidden_a_receive(self, limit: float, judged: float) -> None:
        struck = [Struck(10.5, "killed", 1), Struck(11.75, "killed", 2)]
        doctored = evolve(remains(), received=[], struck=struck, starts=(), longest_lease=limit)
        assert {wait.judged for wait in waits(doctored)} == {judged}

    def test_is_judged_from_its_beginning_if_the_strike_came_too_late(self) -> None:
        doctored = evolve(remains(), received=[], struck=[Struck(11.9, "killed", 2)], longest_lease=0.5)
        assert {wait.judged for wait in waits(doctored)} == {2.0}

    def test_knows_whether_it_was_in_the_deploy(self) -> None:
        for at, deploy in ((9.0, True), (11.5, True), (12.5, False), (-99.0, False)):
            doctored = evolve(remains(), struck=[Struck(at, "replaced by version 2", 1)])
            assert {wait.deploy for wait in waits(doctored)} == {deploy}

    def test_is_not_judged_while_a_frozen_worker_has_locked_the_file(self) -> None:
        locked = Struck(10.5, "frozen", 1, 11.5, locked=True)
        assert list(violations(evolve(remains(), longest_lease=0.25, struck=[locked]))) == []

    def test_is_judged_if_the_file_was_free(self) -> None:
        locked = Struck(1.0, "frozen", 1, 9.9, locked=True)
        found = list(violations(evolve(remains(), longest_lease=0.25, struck=[locked])))
        assert {violation.what for violation in found} == {"waited too long"}
