"""The page on versions does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"


def test_its_migration_prints_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(program, str(PAGE), "exec"), {})
    (promised,) = re.findall(r"print\(.*\)  # (.*)", program)
    assert capsys.readouterr().out.strip() == promised
