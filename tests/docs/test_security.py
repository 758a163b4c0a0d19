"""``docs/security.md`` states the limits that the code has, and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settled_gcp import push_auth
from tests.docs.test_architecture import resolve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
LIMITS: list[tuple[str, str]] = re.findall(r"^\| .*\(`(settled[\w.]+)`.*\) \| ([\d,]+) \|$", PAGE, re.M)


def test_the_page_has_limits() -> None:
    assert len(LIMITS) == PAGE.count("(`settled")


@pytest.mark.parametrize(("name", "value"), LIMITS)
def test_a_limit_is_that_of_the_code(name: str, value: str) -> None:
    assert resolve(name) == int(value.replace(",", ""))


def test_the_intervals_of_fetches_are_those_of_the_code() -> None:
    assert push_auth.MAX_CERTIFICATES_AGE == 6 * 3600 and "for 6 more hours" in PAGE
    assert push_auth.MIN_FETCH_INTERVAL == 60 and "one fetch a minute" in PAGE
    assert push_auth.RETRY_INTERVAL == 10 and "one in 10 seconds" in PAGE
