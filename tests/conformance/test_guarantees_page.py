"""The page that users read says what the suite proves."""

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
def test_a_guarantee_is_called_on_the_page_what_it_is_called_in_the_table(id: str) -> None:
    assert f"**{GUARANTEES[id].title}**" in ROWS[id]


def test_the_page_counts_the_broken_adapters() -> None:
    assert f"{len(FAULTY_ADAPTERS)} adapters that are broken in one way each" in PAGE


@pytest.mark.parametrize("id", GUARANTEES)
def test_every_guarantee_has_proofs_or_marks_that_explorations_leave(id: str) -> None:
    assert checks_of(id) or GUARANTEES[id].marks
