"""The page on the architecture names only what is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(settled\w*(?:\.\w+)+)`", PAGE)))
PATHS = sorted(set(re.findall(r"`((?:core|runtime|adapters|conformance|cli|tests|pyproject)[\w./]*[\w])`", PAGE)))


def resolve(name: str) -> object:
    """Import as much of `name` as is a module, and look the rest up in it."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_is_in_the_code(name: str) -> None:
    if name == "settled.backends":
        assert f'entry-points."{name}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    else:
        assert resolve(name) is not None


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_page_is_in_the_tree(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_page_shows_every_package_of_the_core() -> None:
    packages = {each.parent.name for each in (ROOT / "core" / "settled").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"core/settled/(\w+)`", PAGE))
