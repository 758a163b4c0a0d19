"""The suite on trial once more: a host that is broken in one way is caught by the guarantee that names it."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

from settled import Key, TooLargeError
from settled.durable import Record
from settled.durable.window import Window
from settled_conformance import Harness, Session, VerdictStatus
from settled_conformance.harnesses.local import memory, mixed, unnumbered
from settled_conformance.simulator.choices import from_token, to_token

CORE: Mapping[str, Any] = {
    name: import_module(f"settled.{name}") for name in ("turn", "work", "ledger", "codec", "delays", "machine")
}
"""The core's modules; some have the names of their functions."""

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], object]


def always(answer: object) -> Callable[..., object]:
    def function(*_arguments: object) -> object:
        return answer

    return function


def never_asks_the_queue(patch: Patch) -> None:
    def make_sure(_work: object) -> Generator[Any, Any, None]:
        yield from ()

    patch.setattr(CORE["work"], "_make_sure", make_sure)


def forgets_the_mark(patch: Patch) -> None:
    patch.setattr(CORE["work"], "_mark", always(None))


def forgets_what_was_not_acknowledged(patch: Patch) -> None:
    settle = Window.unpin

    def all_of_it(self: Window, _in_hand: Container[str], _before: Iterable[str] = ()) -> Window:
        return settle(self, ())

    patch.setattr(Window, "settle", all_of_it)


def takes_back_what_it_committed(patch: Patch) -> None:
    perform: Callable[..., Generator[Any, Any, Any]] = CORE["work"].perform

    def undone(work: Any, owing: Any) -> Generator[Any, Any, Any]:
        try:
            return (yield from perform(work, owing))
        except TooLargeError:
            work.record = Record()
            return None

    patch.setattr(CORE["turn"], "perform", undone)


def names_effects_by_their_number(patch: Patch) -> None:
    def numbered(key: Key, _nonce: str, ordinal: int, index: int) -> str:
        return f"{key}/1/{ordinal}/{index}"

    for module in (CORE["turn"], CORE["delays"], import_module("settled.durable.apply_context")):
        patch.setattr(module, "idempotency_key", numbered)


def shares_ids_with_outsiders(patch: Patch) -> None:
    for module in ("record", "kin", "posting", "message"):
        patch.setattr(import_module(f"settled.{module}"), "internal_id", str)


def fires_early_timers(patch: Patch) -> None:
    def fire(desk: Any, record: Record, message: Any, token: str, _early: int) -> Record:
        timer = record.timers[token]
        ledger = CORE["ledger"]
        fired: Record = ledger._step(desk, ledger.without_timer(record, token), message, timer.event)
        return fired

    patch.setattr(CORE["ledger"], "_fire", fire)


def drops_early_timers(patch: Patch) -> None:
    def put_off(_desk: object, record: Record, _token: str, _early: int) -> Record:
        return record

    patch.setattr(CORE["ledger"], "put_off", put_off)


def takes_any_version(patch: Patch) -> None:
    patch.setattr(CORE["machine"], "knows_version", always(True))


def never_arms_again(patch: Patch) -> None:
    patch.setattr(CORE["turn"], "_is_of_another_definition", always(False))


def buries_nothing_with_the_dead(patch: Patch) -> None:
    bury = CORE["codec"].bury

    def forgetful(key: Key, stored: Any, now: float) -> Any:
        blank = CORE["codec"].write({"settled": CORE["codec"].FORMAT, "machine": key.machine})
        return CORE["codec"].Stored(stored.version + 1, blank, bury(key, stored, now).index)

    for module in ("settled_runtime.client", "settled_conformance.simulator.simulation"):
        patch.setattr(import_module(module), "bury", forgetful)


CAUGHT: dict[Break, tuple[Callable[[], Harness], str]] = {
    never_asks_the_queue: (unnumbered, "R4"),
    forgets_the_mark: (mixed, "R4"),
    forgets_what_was_not_acknowledged: (unnumbered, "X10"),
    names_effects_by_their_number: (memory, "E3"),
    shares_ids_with_outsiders: (memory, "X12"),
    fires_early_timers: (memory, "T6"),
    drops_early_timers: (memory, "T6"),
    takes_any_version: (memory, "V2"),
    never_arms_again: (memory, "V3"),
    buries_nothing_with_the_dead: (mixed, "R4"),
}
"""Which guarantee catches it by a proof, over which backend."""

REPLAYED: dict[Break, tuple[Callable[[], Harness], str, str]] = {
    never_asks_the_queue: (unnumbered, "X4", "left-behind:21.2"),
    forgets_the_mark: (mixed, "X4", "left-behind:21.2"),
    forgets_what_was_not_acknowledged: (unnumbered, "X4", "narrow:19.2"),
    takes_back_what_it_committed: (memory, "R9", "outgrown:17.2"),
    names_effects_by_their_number: (memory, "E2", "adopted-keys:"),
    takes_any_version: (memory, "V1", "versions:13.1"),
}
"""And which schedule does, by its token."""


@contextmanager
def broken(how: Break) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        how(patch)
        yield


def name_of(each: object) -> str:
    return getattr(each, "__name__", "")


@pytest.mark.parametrize("how", CAUGHT, ids=name_of)
def test_a_broken_host_is_caught_by_the_guarantee_that_names_it(how: Break) -> None:
    make, guarantee = CAUGHT[how]
    with broken(how):
        session = Session(make(), stop_at=guarantee, budget=0.0)
        assert session.verdict(guarantee).status is VerdictStatus.FAIL
    assert Session(make(), stop_at=guarantee, schedules=1).verdict(guarantee).status is not VerdictStatus.FAIL


@pytest.mark.parametrize("how", REPLAYED, ids=name_of)
def test_a_broken_host_is_caught_by_a_schedule(how: Break) -> None:
    make, guarantee, token = REPLAYED[how]
    with broken(how):
        timelines = [Session(make()).replay(each) for each in (token, *_near(token))]
        assert any(line.endswith(f"<< {guarantee}") for timeline in timelines for line in timeline)


def _near(token: str) -> list[str]:
    """Schedules beside it: where a turn has one command more, its forks are elsewhere."""
    name, deviations = from_token(token)
    if not deviations:
        return []
    return [to_token(name, {fork + by: way for fork in deviations}) for by in range(-6, 9) for way in range(1, 7)]
