"""The package's own face: its names come from their modules when they are asked for, and are what they say."""

from __future__ import annotations

import ast
import operator
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import settled
from settled import turn as turn_of_the_package
from settled.turn import turn

SOURCE = Path(settled.__file__).read_text()


def imported() -> dict[str, str]:
    """In which module a type checker finds each name."""
    nodes = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.ImportFrom) and node.module]
    own = [node for node in nodes if str(node.module).startswith("settled.")]
    return {name.name: str(node.module) for node in own for name in node.names}


def test_each_name_is_where_a_type_checker_finds_it() -> None:
    names = imported()
    assert set(names) == set(settled.__all__)
    for name, module in names.items():
        assert getattr(settled, name) is getattr(sys.modules[module], name), name


@pytest.mark.parametrize("name", ["adopt", "check", "dot", "mermaid", "redrive", "settle", "turn"])
def test_a_function_is_not_hidden_by_the_module_of_its_name(name: str) -> None:
    assert isinstance(getattr(settled, name), FunctionType)


def test_the_turn_is_the_turn() -> None:
    assert turn_of_the_package is turn


def test_an_unknown_name_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match="module 'settled' has no attribute 'nothing'"):
        operator.attrgetter("nothing")(settled)


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import settled, sys; print(sorted(name for name in sys.modules if name.startswith(('settled.', 'attr'))))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_whoever_runs_a_machine_does_not_load_what_looks_for_its_faults() -> None:
    program = "from settled import setup; import sys; print('settled.check' in sys.modules, 'cattrs' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False False"


@pytest.mark.parametrize("heavy", ["asyncio", "concurrent.futures", "stamina", "cattrs"])
def test_the_runtime_loads_what_takes_long_only_where_it_is_used(heavy: str) -> None:
    program = f"from settled_runtime import Host; import sys; print({heavy!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
