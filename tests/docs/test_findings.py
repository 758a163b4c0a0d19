"""``docs/findings.md`` explains each finding by two machines, which are what it says they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from settled import Finding, check, compile_chart
from settled.analysis.finding import Code

PAGE = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def findings(code: str) -> list[tuple[Finding, ...]]:
    """What is found in each machine of the section on `code`."""
    blocks = re.findall(r"^```(json|python)\n(.*?)^```", SECTIONS[code], re.M | re.S)
    return [found_in(language, text) for language, text in blocks]


def found_in(language: str, text: str) -> tuple[Finding, ...]:
    if language == "json":
        return check(compile_chart(text))
    names: dict[str, Any] = {}
    exec(text, names)
    found: tuple[Finding, ...] = names["machine"].check()
    return found


def test_each_finding_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(get_args(Code))


@pytest.mark.parametrize("code", get_args(Code))
def test_the_first_machine_gives_the_finding_and_the_second_none(code: str) -> None:
    failing, mended = findings(code)
    assert {finding.code for finding in failing} == {code}
    assert mended == ()


def test_the_output_that_is_shown_is_what_is_printed() -> None:
    (finding,) = findings("hangs")[0]
    assert f"signup.json: {finding}\n" in PAGE
