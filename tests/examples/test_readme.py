"""The code in the README runs when it is pasted, and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.processes import PATIENCE, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]


def test_the_quick_start_is_two_commands() -> None:
    assert README.index("## Quick start") < README.index("```")
    assert BLOCKS[0] == ("", "make signup\nmake test\n")


def test_there_is_python_code() -> None:
    assert PYTHON


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0])
def test_python_code_runs_and_prints_what_its_comment_says(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    expected = re.findall(r"print\(.*?\)  # (.*)", code)
    assert expected
    assert done.stdout.splitlines()[-len(expected) :] == expected
    assert done.stderr == ""
