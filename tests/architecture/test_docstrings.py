"""A docstring explains only attributes and parameters that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("core", "runtime", "adapters", "conformance", "cli")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def explained(node: ast.AST, section: str) -> set[str]:
    """Return the names that the docstring of `node` explains under `section`."""
    text = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)*)", text or "", re.MULTILINE)
    names = re.findall(r"^    (\w[\w, ]*?):", found[1], re.MULTILINE) if found else []
    return {name for each in names for name in each.split(", ")}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {each.arg for each in every if each is not None}


def attributes(node: ast.ClassDef) -> Iterator[str]:
    for each in ast.walk(node):
        match each:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


def constructor(node: ast.ClassDef) -> set[str]:
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    return parameters(made[0]) if made else set(attributes(node))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_explains_only_what_exists(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef():
                assert explained(node, "Attributes") <= set(attributes(node)), f"{path.name}: {node.name}"
                assert explained(node, "Args") <= constructor(node), f"{path.name}: {node.name}"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                assert explained(node, "Args") <= parameters(node), f"{path.name}: {node.name}"
            case _:
                pass
