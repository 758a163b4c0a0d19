"""Correct backends pass every guarantee that they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from settled_conformance import GUARANTEES, Harness, Session, VerdictStatus
from settled_conformance.harnesses.local import forgetful, memory, mixed, sqlite, unnumbered
from tests.conformance.faulty.harness import plain

CORRECT: dict[str, Callable[[], Harness]] = {
    "plain": plain,
    "memory": memory,
    "sqlite": sqlite,
    "separate": mixed,
    "unnumbered": unnumbered,
    "forgetful": forgetful,
}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_backend_passes_every_guarantee(name: str) -> None:
    session = Session(CORRECT[name](), budget=8.0)
    verdicts = {verdict.guarantee.id: verdict for verdict in session.verdicts()}
    unsupported_ids = {
        "sqlite": set[str](),
        "separate": {"D7", "R12"},
        "unnumbered": {"D7", "R12", "F9"},
        "forgetful": {"D7", "R12"},
    }.get(name, {"D7"})
    unsupported = {id for id, verdict in verdicts.items() if verdict.status is VerdictStatus.UNSUPPORTED}
    assert unsupported == unsupported_ids
    kept = {id for id, verdict in verdicts.items() if verdict.status is VerdictStatus.PASS}
    assert kept == set(GUARANTEES) - unsupported, [str(each.detail) for each in verdicts.values() if not each.is_fine]
