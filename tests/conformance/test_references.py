"""The suite against what is sound: nothing is found, and nothing is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from settled_conformance import GUARANTEES, Harness, Session, VerdictStatus
from settled_conformance.harnesses.local import memory, mixed, sqlite, unnumbered
from tests.conformance.faulty.harness import plain

SOUND: dict[str, Callable[[], Harness]] = {
    "plain": plain,
    "memory": memory,
    "sqlite": sqlite,
    "separate": mixed,
    "unnumbered": unnumbered,
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_backend_keeps_every_guarantee(name: str) -> None:
    session = Session(SOUND[name](), budget=8.0)
    verdicts = {verdict.guarantee.id: verdict for verdict in session.verdicts()}
    not_asked = {"sqlite": set[str](), "separate": {"D7", "R12"}, "unnumbered": {"D7", "R12", "F9"}}.get(name, {"D7"})
    unsupported = {id for id, verdict in verdicts.items() if verdict.status is VerdictStatus.UNSUPPORTED}
    assert unsupported == not_asked
    kept = {id for id, verdict in verdicts.items() if verdict.status is VerdictStatus.PASS}
    assert kept == set(GUARANTEES) - unsupported, [str(each.detail) for each in verdicts.values() if not each.is_fine]
