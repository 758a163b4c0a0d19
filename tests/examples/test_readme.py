"""The README's code is code: it runs when it is pasted, and says what it is said to say."""

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
PAGES = ("README.md", "docs/cli.md", "examples/signup/README.md")


def test_the_quick_start_is_two_commands() -> None:
    assert README.index("## Quick start") < README.index("```")
    assert BLOCKS[0] == ("", "make signup\nmake test\n")


def test_there_is_code_to_paste() -> None:
    assert PYTHON


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0])
def test_it_runs_when_pasted(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    promised = re.findall(r"print\(.*?\)  # (.*)", code)
    assert promised
    assert done.stdout.splitlines()[-len(promised) :] == promised
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    for link in re.findall(r"\]\(([^)#]+)", file.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (file.parent / link).exists(), link
