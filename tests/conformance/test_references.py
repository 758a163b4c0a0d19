"""The suite against what is sound: nothing is found, and nothing is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from settled_conformance import GUARANTEES, Harness, Session, Status
from settled_conformance.own.local import memory, mixed, sqlite
from tests.conformance.broken.harness import plain

SOUND: dict[str, Callable[[], Harness]] = {"plain": plain, "memory": memory, "sqlite": sqlite, "separate": mixed}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_backend_keeps_every_guarantee(name: str) -> None:
    session = Session(SOUND[name](), budget=8.0)
    verdicts = {verdict.guarantee.id: verdict for verdict in session.verdicts()}
    dies_with_its_process = set[str]() if name == "sqlite" else {"D7"}
    unsupported = {id for id, verdict in verdicts.items() if verdict.status is Status.UNSUPPORTED}
    assert unsupported == dies_with_its_process
    kept = {id for id, verdict in verdicts.items() if verdict.status is Status.PASS}
    assert kept == set(GUARANTEES) - unsupported, [str(each.detail) for each in verdicts.values() if not each.is_fine]
