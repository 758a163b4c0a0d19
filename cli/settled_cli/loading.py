"""Python that a command is pointed at: a module by its name, or a file in a folder."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from settled import SettledError
from settled_cli.errors import UsageError


def load_module(name: str) -> ModuleType:
    """The module `name`, looked for in the working directory first.

    Raises:
        Misuse: it cannot be imported.
    """
    _look_in(Path.cwd())
    try:
        return import_module(name)
    except SettledError:
        raise
    except Exception as error:
        raise UsageError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def load_file(path: Path) -> ModuleType:
    """The module in the file at `path`, which may import its neighbours.

    Raises:
        Misuse: it cannot be imported.
    """
    path = path.resolve()
    _look_in(path.parent)
    name = f"{path.parent.name}.{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "the path ends in .py"
    module = module_from_spec(spec)
    sys.modules[name] = module  # where attrs and cattrs look for what annotations mean
    try:
        spec.loader.exec_module(module)
    except SettledError:
        raise
    except Exception as error:
        raise UsageError(f"cannot import {path}: {type(error).__name__}: {error}") from error
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
