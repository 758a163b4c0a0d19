"""Write the ``__init__.pyi`` of each package that lists its names: ``python -m tests.support.stubs``."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

PACKAGES = ("settled", "settled.durable", "settled_runtime", "settled_conformance")


def names_of(package: str) -> dict[str, list[str]]:
    """The names that `package` exports, by the module that each is in: the one list, read from its source."""
    source = Path(str(import_module(package).__file__)).read_text(encoding="utf-8")
    table = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict))
    return {module: listed.split() for module, listed in ast.literal_eval(table).items()}


def stub_of(package: str) -> str:
    """Return the text of the stub of `package`."""
    lines = [
        f"from {module} import {name} as {name}"
        for module, names in sorted(names_of(package).items())
        for name in sorted(names)
    ]
    return "\n".join(lines) + "\n"


def path_of(package: str) -> Path:
    return Path(str(import_module(package).__file__)).with_suffix(".pyi")


def main() -> None:
    for package in PACKAGES:
        path_of(package).write_text(stub_of(package), encoding="utf-8")


if __name__ == "__main__":
    main()
