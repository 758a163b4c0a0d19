"""The wheel contains every package, and is enough to run the core."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = sorted(marker.parent for marker in ROOT.glob("*/**/settled*/py.typed") if ".venv" not in marker.parts)

ONE_STEP = """
from settled import setup
import settled_local, settled_runtime
machine = setup().machine({"id": "door", "initial": "shut", "states": {"shut": {"on": {"OPEN": "open"}}, "open": {}}})
before, _ = machine.initial_transition()
after, _ = machine.transition(before, {"type": "OPEN"})
print(before.value, after.value)
"""


def holds_code(folder: Path) -> bool:
    _law, *code = ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
    return bool(code) or len(list(folder.rglob("*.py"))) > 1


def run(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (built,) = out.iterdir()
    return built


def test_every_folder_that_holds_code_is_in_the_wheel(wheel: Path) -> None:
    packed = {name.partition("/")[0] for name in ZipFile(wheel).namelist() if ".dist-info" not in name}
    assert packed == {folder.name for folder in FOLDERS if holds_code(folder)}


def test_every_folder_is_under_the_import_contracts() -> None:
    assert sorted(PROJECT["tool"]["importlinter"]["root_packages"]) == sorted(folder.name for folder in FOLDERS)


def test_every_extra_is_in_the_development_environment() -> None:
    extras = ",".join(PROJECT["project"]["optional-dependencies"])
    assert f"settled[{extras}]" in PROJECT["dependency-groups"]["dev"]


def test_every_extra_is_tested_with_its_lowest_versions() -> None:
    (installed,) = re.findall(r"--editable '\.\[(.*)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert installed.split(",") == sorted(PROJECT["project"]["optional-dependencies"])


def test_the_wheel_without_extras_runs_the_core(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    assert run(python, "-I", "-c", ONE_STEP) == "shut open\n"
