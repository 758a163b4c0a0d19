"""The code in ``docs/versions.md`` prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"


def test_the_migration_prints_what_its_comment_says(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(program, str(PAGE), "exec"), {})
    (expected,) = re.findall(r"print\(.*\)  # (.*)", program)
    assert capsys.readouterr().out.strip() == expected
