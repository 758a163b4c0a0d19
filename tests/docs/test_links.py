"""The links between the pages of this repository point to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "bench/*.md", "docs/*.md", "examples/*/*.md")
PAGES = sorted(page.relative_to(ROOT) for pattern in PATTERNS for page in ROOT.glob(pattern))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of `page`, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_point_to_something_that_exists(page: Path) -> None:
    file = ROOT / page
    for target, anchor in re.findall(r"\]\((?!https://)([^)#]*)#?([^)]*)\)", file.read_text(encoding="utf-8")):
        linked = file.parent / target if target else file
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"
