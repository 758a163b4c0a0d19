"""Import the Python that a command is given: a module by its name, or a file in a folder."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from settled import SettledError
from settled_cli.errors import UsageError


def load_module(name: str) -> ModuleType:
    """Import the module `name`, from the working directory if it is there.

    Raises:
        UsageError: it cannot be imported.
        SettledError: the module raised it while it was imported, such as a DefinitionError.
    """
    _prepend_to_path(Path.cwd())
    with _import_errors(name):
        return import_module(name)


def load_file(path: Path) -> ModuleType:
    """Import the file at `path`, which may import other modules in its folder.

    Raises:
        UsageError: it cannot be imported.
        SettledError: the file raised it while it was imported, such as a DefinitionError.
    """
    path = path.resolve()
    _prepend_to_path(path.parent)
    # The folder is part of the name, because every folder's file has the same one: machine.py or demo.py.
    name = f"{path.parent.name}.{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "the path ends in .py"
    module = module_from_spec(spec)
    sys.modules[name] = module  # attrs and cattrs resolve annotations through it
    with _import_errors(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _import_errors(name: object) -> Generator[None]:
    try:
        yield
    except SettledError:
        raise  # it names the mistake better than "cannot import" would
    except Exception as error:
        raise UsageError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def _prepend_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
