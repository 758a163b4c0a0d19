"""The exports of the packages are loaded when they are asked for, and their stubs have the same names."""

from __future__ import annotations

import operator
import subprocess
import sys
from importlib import import_module

import pytest

import settled
from tests.support.stubs import PACKAGES, names_of, path_of, stub_of


@pytest.mark.parametrize("package", PACKAGES)
class TestEachPackage:
    def test_exports_names_that_are_in_their_modules(self, package: str) -> None:
        for module, names in names_of(package).items():
            for name in names:
                assert getattr(import_module(package), name) is getattr(import_module(module), name), name

    def test_exports_no_name_twice_and_none_of_its_own_modules(self, package: str) -> None:
        listed = [name for names in names_of(package).values() for name in names]
        assert len(listed) == len(set(listed))
        # Python sets a package's attribute to the submodule of that name when that is imported.
        assert not {name for name in listed if (path_of(package).parent / f"{name}.py").exists()}

    def test_has_a_stub_with_the_same_names(self, package: str) -> None:
        assert path_of(package).read_text(encoding="utf-8") == stub_of(package), "run: python -m tests.support.stubs"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'settled' has no attribute 'nothing'"):
        operator.attrgetter("nothing")(settled)


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = "import settled, sys; print([name for name in sys.modules if name.startswith(('settled.', 'attr'))])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['settled.lazy_names']"


def test_running_a_machine_does_not_load_the_analysis() -> None:
    program = (
        "from settled import setup; import sys; print('settled.analysis.check' in sys.modules, 'cattrs' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False False"


@pytest.mark.parametrize("heavy", ["asyncio", "concurrent.futures", "stamina", "cattrs"])
def test_the_runtime_imports_slow_packages_only_where_they_are_used(heavy: str) -> None:
    program = f"from settled_runtime import Host; import sys; print({heavy!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
