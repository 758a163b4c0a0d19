"""One name, one meaning, and none of them private to this project."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("core", "runtime", "adapters", "conformance", "cli")
EVERYWHERE = (*PRODUCT, "tests", "bench", "examples")

PRIVATE_WORDS = frozenset(
    [
        "desk",
        "kin",
        "posting",
        "ledger",
        "lying",
        "house",
        "sight",
        "tape",
        "convoy",
        "witness",
        "agenda",
        "lane",
        "lanes",
        "judge",
        "diary",
        "weather",
        "deed",
        "deeds",
        "nudge",
        "enlist",
        "enlisted",
        "owed",
        "owing",
        "debt",
        "debts",
        "doorkeeper",
        "timekeeper",
        "performer",
        "lexicon",
        "survey",
        "stillborn",
        "parting",
        "befall",
        "kernel",
        "hazard",
        "hazards",
        "proof",
        "proofs",
        "proves",
        "hands",
        "notices",
        "remembered",
        "recall",
    ]
)
"""Words that once meant something here that they mean nowhere else; the field has its own for each."""


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def public_types(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias")):
                yield name
            case _:
                pass


def words(identifier: str) -> set[str]:
    return {word.lower() for word in re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", identifier)}


def test_a_public_type_name_means_one_thing() -> None:
    homes = defaultdict[str, list[str]](list)
    for path in sources(*PRODUCT):
        for name in public_types(path):
            if not name.startswith("_"):
                homes[name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_an_error_class_ends_in_error() -> None:
    for path in sources(*PRODUCT):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                if any(base.endswith(("Error", "Exception")) for base in bases):
                    assert node.name.endswith("Error"), f"{path.relative_to(ROOT)}: {node.name}"


@pytest.mark.parametrize("folder", EVERYWHERE)
def test_no_identifier_has_a_private_word(folder: str) -> None:
    for path in sources(folder):
        used = words(path.stem)
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.NAME:
                used |= words(token.string)
        assert not used & PRIVATE_WORDS, f"{path.relative_to(ROOT)}: {sorted(used & PRIVATE_WORDS)}"


def test_no_heading_has_a_private_word() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                found = set(re.findall(r"\w+", line.lower())) & PRIVATE_WORDS
                assert not found, f"{path.name}: {line}"
