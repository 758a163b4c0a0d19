"""``docs/findings.md`` explains each finding by a machine that has it and one that does not."""

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
    """Return the findings in each machine of the section on `code`."""
    blocks = re.findall(r"^```(json|python)\n(.*?)^```", SECTIONS[code], re.M | re.S)
    return [check_machine(language, text) for language, text in blocks]


def check_machine(language: str, text: str) -> tuple[Finding, ...]:
    if language == "json":
        return check(compile_chart(text))
    names: dict[str, Any] = {}
    exec(text, names)
    found: tuple[Finding, ...] = names["machine"].check()
    return found


def test_each_finding_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(get_args(Code))


@pytest.mark.parametrize("code", get_args(Code))
def test_the_first_machine_has_the_finding_and_the_second_has_none(code: str) -> None:
    before, after = findings(code)
    assert {finding.code for finding in before} == {code}
    assert after == ()


def test_the_output_is_what_the_command_prints() -> None:
    (finding,) = findings("hangs")[0]
    assert f"signup.json: {finding}\n" in PAGE
