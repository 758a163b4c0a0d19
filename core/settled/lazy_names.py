"""Import a package's names from their modules when they are first asked for (PEP 562).

A program that only loads a machine need not wait for the turn to be imported, nor one that only compiles a chart for
the analysis. Each package has one list of its names; ``__init__.pyi`` beside it, which is for type checkers, is written
from that list by ``python -m tests.support.stubs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(namespace: dict[str, Any], names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of the package whose ``globals()`` are `namespace`, and set its ``__all__``.

    Args:
        namespace: the globals of the package's ``__init__``.
        names: by module, the names that the package exports from it, separated by spaces.
    """
    package = namespace["__name__"]
    modules = {name: module for module, listed in names.items() for name in listed.split()}
    namespace["__all__"] = sorted(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Kept, so that Python asks for it once: from then on it finds the name in the package itself.
        value = namespace[name] = getattr(import_module(modules[name]), name)
        return value

    return get
