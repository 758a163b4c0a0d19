"""Import the Python that a command is given: a module by its name, or a file in a folder.

One worker may serve several folders, and each may have a ``helper.py`` of its own. So the files of a folder are modules
of a package that only they see: an ``import`` in one of them looks into its own folder first, also when it is executed
later, within a function.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from settled import SettledError
from settled_cli.errors import UsageError


def load_module(name: str) -> ModuleType:
    """Import the module `name`, from the working directory if it is there.

    Raises:
        UsageError: it cannot be imported.
        SettledError: the module raised it while it was imported, such as a DefinitionError.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with _import_errors(name):
        return import_module(name)


def load_file(path: Path) -> ModuleType:
    """Import the file at `path`, which may import other modules in its folder.

    Raises:
        UsageError: it cannot be imported.
        SettledError: the file raised it while it was imported, such as a DefinitionError.
    """
    path = path.resolve()
    with _import_errors(path):
        return import_module(f"{_package_of(path.parent)}.{path.stem}")


@contextmanager
def _import_errors(name: object) -> Generator[None]:
    try:
        yield
    except SettledError:
        raise  # it names the mistake better than "cannot import" would
    except Exception as error:
        raise UsageError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def _package_of(folder: Path) -> str:
    """Return the name of the package of the modules in `folder`, made if there is none yet."""
    # A machine's fingerprint has the modules of its functions, so the name must be the same wherever the folder is. The
    # slash keeps it apart from packages that a statement can import.
    own_name = f"{folder.name.replace('.', '_')}/"
    for number in count(1):
        name = own_name if number == 1 else f"{own_name}{number}"
        if name not in sys.modules:
            package = sys.modules[name] = ModuleType(name)
            package.__path__ = [str(folder)]
            sys.meta_path.insert(0, _FolderFinder(name))
        if sys.modules[name].__path__ == [str(folder)]:
            return name
    raise AssertionError("count is endless")


class _FolderFinder(MetaPathFinder):
    """Finds the modules of one folder's package, and has them import from that package first."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _FolderLoader(fullname, spec.loader.path, self._package)
        return spec


class _FolderLoader(SourceFileLoader):
    """Executes a module whose ``import`` statements look into its folder's package first."""

    def __init__(self, fullname: str, path: str, package: str) -> None:
        super().__init__(fullname, path)
        self._package = package

    def exec_module(self, module: ModuleType) -> None:
        # Python takes `__import__` from the builtins of the module that has the statement.
        own_import = partial(_import, self._package)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": own_import}
        super().exec_module(module)


def _import(
    package: str,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Do what ``__import__`` does, but take a module of `package` before any other of that name."""
    first = name.partition(".")[0]
    if level or not _has_module(package, first):
        return builtins.__import__(name, globals, locals, fromlist, level)
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
    import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{first}"]


def _has_module(package: str, name: str) -> bool:
    spec = find_spec(f"{package}.{name}")
    # A folder without an __init__.py, such as one of data, comes after every other module of its name.
    return spec is not None and (spec.origin is not None or find_spec(name) is None)
