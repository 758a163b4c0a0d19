"""Import a package's names from their modules on first access (PEP 562).

So a program that only runs machines does not wait for the import of the analysis. Each package has one list of its
names; ``__init__.pyi`` beside it, for type checkers, is generated from that list by ``python -m tests.support.stubs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(namespace: dict[str, Any], names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of the package whose ``globals()`` are `namespace`, and set its ``__all__``.

    Args:
        namespace: the globals of the package's ``__init__``.
        names: the names that the package exports, separated by spaces, by module.
    """
    package = namespace["__name__"]
    modules = {name: module for module, listed in names.items() for name in listed.split()}
    namespace["__all__"] = sorted(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Stored in the package, so that Python finds it there and calls this function once for each name.
        value = namespace[name] = getattr(import_module(modules[name]), name)
        return value

    return get
