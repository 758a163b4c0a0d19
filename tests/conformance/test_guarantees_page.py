"""The documentation lists the guarantees that the suite tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settled_conformance import GUARANTEES
from settled_conformance.checks import checks_of
from tests.conformance.faulty.catalogue import FAULTY_ADAPTERS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "guarantees.md").read_text(encoding="utf-8")
ROWS = {found[1]: found[0] for found in re.finditer(r"^\| ([A-Z]\d+) \|.*$", PAGE, re.MULTILINE)}


def test_every_guarantee_is_on_the_page_in_order_and_nothing_else() -> None:
    assert list(ROWS) == list(GUARANTEES)


@pytest.mark.parametrize("id", GUARANTEES)
def test_a_guarantee_has_the_same_title_on_the_page_and_in_reports(id: str) -> None:
    assert f"**{GUARANTEES[id].title}**" in ROWS[id]


def test_the_page_states_the_number_of_faulty_adapters() -> None:
    assert f"{len(FAULTY_ADAPTERS)} adapters that are broken in one way each" in PAGE


@pytest.mark.parametrize("id", GUARANTEES)
def test_every_guarantee_has_checks_or_marks(id: str) -> None:
    assert checks_of(id) or GUARANTEES[id].marks
