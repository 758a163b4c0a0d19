"""A backend lists its capabilities one by one: one that is new is not claimed before somebody has made it true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "adapters").rglob("*.py")) + sorted((ROOT / "conformance").rglob("harnesses/*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_adapter_and_no_harness_declares_all_there_are(path: Path) -> None:
    assert not re.search(r"(set|list|tuple|iter)\(Capability\)", path.read_text(encoding="utf-8"))
