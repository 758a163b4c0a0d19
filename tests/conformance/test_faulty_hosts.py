"""The suite detects faulty hosts: each is settled's own code with one function replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
from attrs import evolve

from settled import Key, Outcome
from settled.durable import Record, Stored
from settled.durable.window import Window
from settled_conformance import Harness, Session, VerdictStatus
from settled_conformance.harnesses.local import forgetful, memory, mixed, unnumbered
from settled_conformance.simulator.choices import from_token, to_token

CORE: Mapping[str, Any] = {
    name: import_module(f"settled.durable.{name}")
    for name in (
        "apply",
        "apply_context",
        "children",
        "commit",
        "delays",
        "reasons",
        "record",
        "record_json",
        "open_turn",
        "suspects",
        "turn",
        "turn_state",
    )
}
"""The modules that the hosts below break; some share their name with a function of the package."""

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], object]


def always(answer: object) -> Callable[..., object]:
    def function(*_arguments: object) -> object:
        return answer

    return function


def never_asks_the_queue(patch: Patch) -> None:
    def confirm_leases(_state: object) -> Generator[Any, Any, None]:
        yield from ()

    for module in (CORE["turn_state"], CORE["turn"]):
        patch.setattr(module, "confirm_leases", confirm_leases)


def forgets_the_high_water_mark(patch: Patch) -> None:
    patch.setattr(CORE["commit"], "_next_mark", always(None))


def forgets_what_was_not_acknowledged(patch: Patch) -> None:
    unpin = Window.unpin

    def unpin_all(self: Window, _in_hand: Container[str], _before: Iterable[str] = ()) -> Window:
        return unpin(self, ())

    patch.setattr(Window, "unpin", unpin_all)


def loses_its_record_where_an_error_does_not_fit(patch: Patch) -> None:
    def empty(_record: Record, *, without_oldest: bool) -> Iterator[Record]:
        assert not without_oldest, "the records of schedules are small"
        yield Record()

    patch.setattr(CORE["commit"], "smaller_records", empty)


def names_effects_by_their_number(patch: Patch) -> None:
    def numbered(key: Key, _nonce: str, ordinal: int, index: int) -> str:
        return f"{key}/1/{ordinal}/{index}"

    for module in _importers("idempotency_key"):
        patch.setattr(module, "idempotency_key", numbered)


def takes_every_event_for_taken(patch: Patch) -> None:
    outcome_of = CORE["reasons"].outcome_of

    def taken(machine: object, snapshot: object, cause: Any) -> Any:
        return outcome_of(machine, snapshot, cause and cause._replace(ignored=None))

    patch.setattr(CORE["apply"], "outcome_of", taken)


def ignores_what_changes_no_state(patch: Patch) -> None:
    outcome_of = CORE["reasons"].outcome_of

    def ignore(machine: object, snapshot: Any, cause: Any) -> Any:
        if cause is not None and cause.before.value == snapshot.value:
            return Outcome.IGNORED, ""
        return outcome_of(machine, snapshot, cause)

    patch.setattr(CORE["apply"], "outcome_of", ignore)


def shares_ids_with_outsiders(patch: Patch) -> None:
    for module in _importers("internal_id"):
        patch.setattr(module, "internal_id", str)


def fires_early_timers(patch: Patch) -> None:
    def fire(context: Any, record: Record, message: Any, token: str, _early: int) -> Record:
        fired: Record = CORE["apply"]._fire_timer(context, record, message, token)
        return fired

    patch.setattr(CORE["apply"], "_fire_timers", fire)


def drops_early_timers(patch: Patch) -> None:
    def drop(_context: object, record: Record, _token: str, _early: int) -> Record:
        return record

    patch.setattr(CORE["apply"], "reschedule_early_timer", drop)


def takes_any_version(patch: Patch) -> None:
    patch.setattr(import_module("settled.machine"), "knows_version", always(True))


def never_rearms_timers(patch: Patch) -> None:
    patch.setattr(CORE["turn"], "is_of_another_definition", always(False))


def leaves_an_empty_tombstone(patch: Patch) -> None:
    record_json = CORE["record_json"]
    original = record_json.record_to_tombstone

    def empty(key: Key, stored: Any, now: float) -> Any:
        blank = record_json.write_record(f'{{"machine":"{key.machine}"}}', None, "")
        return Stored(stored.version + 1, blank, original(key, stored, now).index)

    for module in ("settled_runtime.client", "settled_conformance.simulator.simulation"):
        patch.setattr(import_module(module), "record_to_tombstone", empty)


def halts_what_was_received_too_often(patch: Patch) -> None:
    suspects, commit = CORE["suspects"], CORE["commit"]

    def watch(state: Any) -> Generator[Any, Any, None]:
        if suspects._is_received_too_often(state):
            message, attempts = state.first.message, state.policy.max_attempts
            for number in range(1, attempts + 1):
                failing = commit._failure_count(state, message, "received too often")
                step = commit._failing_step(state, message, failing, None, is_last=number == attempts)
                yield from commit.write_step(state, step)

    patch.setattr(CORE["turn"], "watch", watch)


def forgets_what_its_worker_was_lost_with(patch: Patch) -> None:
    patch.setattr(CORE["suspects"], "_lost_watch", always(None))


def skips_what_was_taken(patch: Patch) -> None:
    commit = CORE["commit"]

    def step(state: Any, message: Any, failing: Any, reason: str | None) -> Generator[Any, Any, Any]:
        record = evolve(state.record, failing=None, outbox=(), window=state.record.window.add(message, Outcome.TAKEN))
        return commit.TurnStep(record, done=(state.deliveries[0],))
        yield

    patch.setattr(commit, "_skipping_step", step)


def skips_without_a_dead_letter(patch: Patch) -> None:
    commit = CORE["commit"]
    original: Callable[..., Generator[Any, Any, Any]] = commit._skipping_step

    def step(*arguments: Any) -> Generator[Any, Any, Any]:
        found = yield from original(*arguments)
        return found and evolve(found, add_dead_letters=())

    patch.setattr(commit, "_skipping_step", step)


def waits_in_the_queue_for_ever(patch: Patch) -> None:
    patch.setattr(CORE["open_turn"], "_waits_outside_queue", always(False))


def leaves_what_was_postponed(patch: Patch) -> None:
    turn = CORE["turn"]
    original = turn._dead_letter_step

    def step(state: Any, dead_letters: Any) -> Any:
        if state.record.redriving is None:
            return turn.TurnStep(evolve(state.record, postponed=None))
        return original(state, dead_letters)

    patch.setattr(turn, "_dead_letter_step", step)


def _importers(name: str) -> list[Any]:
    """Return the loaded modules of the core and the runtime that have a global `name`."""
    modules = [module for key, module in sys.modules.items() if key.startswith(("settled.", "settled_runtime."))]
    return [module for module in modules if name in vars(module)]


DETECTED_BY_CHECKS: dict[Fault, tuple[Callable[[], Harness], str]] = {
    never_asks_the_queue: (unnumbered, "R4"),
    forgets_the_high_water_mark: (mixed, "R4"),
    forgets_what_was_not_acknowledged: (unnumbered, "X10"),
    names_effects_by_their_number: (memory, "E3"),
    shares_ids_with_outsiders: (memory, "X12"),
    fires_early_timers: (memory, "T6"),
    drops_early_timers: (memory, "T6"),
    takes_any_version: (memory, "V2"),
    never_rearms_timers: (memory, "V3"),
    leaves_an_empty_tombstone: (mixed, "R4"),
    takes_every_event_for_taken: (memory, "X13"),
    ignores_what_changes_no_state: (memory, "X13"),
    skips_what_was_taken: (memory, "X14"),
    skips_without_a_dead_letter: (memory, "X14"),
}
"""The faults that a check detects: the backend it needs, and the guarantee that is reported."""

DETECTED_BY_SCHEDULES: dict[Fault, tuple[Callable[[], Harness], str, str]] = {
    never_asks_the_queue: (unnumbered, "X4", "stale-worker:21.2"),
    forgets_the_high_water_mark: (mixed, "X4", "stale-worker:21.2"),
    forgets_what_was_not_acknowledged: (unnumbered, "X4", "small-window:19.2"),
    loses_its_record_where_an_error_does_not_fit: (memory, "R9", "record-too-large:17.2"),
    names_effects_by_their_number: (memory, "E2", "imported-keys:"),
    takes_any_version: (memory, "V1", "versions:13.1"),
    takes_every_event_for_taken: (memory, "X13", "internal-id-timer:"),
    ignores_what_changes_no_state: (memory, "X13", "append:"),
    skips_without_a_dead_letter: (memory, "D3", "skip:"),
    halts_what_was_received_too_often: (memory, "L2", "reckless:"),
    forgets_what_its_worker_was_lost_with: (memory, "L1", "reckless:"),
    waits_in_the_queue_for_ever: (forgetful, "L1", "poll:"),
    leaves_what_was_postponed: (forgetful, "L1", "poll:"),
}
"""The faults that a schedule detects: the backend, the guarantee, and the replay token."""


@contextmanager
def with_fault(fault: Fault) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        yield


def name_of(each: object) -> str:
    return getattr(each, "__name__", "")


@pytest.mark.parametrize("fault", DETECTED_BY_CHECKS, ids=name_of)
def test_a_faulty_host_is_detected_by_a_check(fault: Fault) -> None:
    make, guarantee = DETECTED_BY_CHECKS[fault]
    with with_fault(fault):
        session = Session(make(), stop_at=guarantee, budget=0.0)
        assert session.verdict(guarantee).status is VerdictStatus.FAIL
    assert Session(make(), stop_at=guarantee, schedules=1).verdict(guarantee).status is not VerdictStatus.FAIL


@pytest.mark.parametrize("fault", DETECTED_BY_SCHEDULES, ids=name_of)
def test_a_faulty_host_is_detected_by_a_schedule(fault: Fault) -> None:
    make, guarantee, token = DETECTED_BY_SCHEDULES[fault]
    with with_fault(fault):
        timelines = [Session(make()).replay(each) for each in (token, *_nearby(token))]
        assert any(line.endswith(f"<< {guarantee}") for timeline in timelines for line in timeline)


def _nearby(token: str) -> list[str]:
    """Return the schedules with deviations at nearby positions, where they are if a turn has a command more or less."""
    name, deviations = from_token(token)
    if not deviations:
        return []
    return [
        to_token(name, {position + by: option for position in deviations})
        for by in range(-6, 9)
        for option in range(1, 7)
    ]
