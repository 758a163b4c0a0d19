"""Machines by the names that people type.

A name is ``module:attribute``, as everywhere in Python, or a folder, which stands for the attribute ``machine`` of its
``machine.py``. Behind it is one machine or several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from settled import Key, Machine
from settled_cli.errors import UsageError
from settled_cli.loading import load_file, load_module

FILE, ATTRIBUTE = "machine.py", "machine"


def find_machines(name: str | None) -> tuple[Machine[Any, Any], ...]:
    """The machines behind `name`; without a name, those of the working directory.

    Raises:
        Misuse: there are none.
        DefinitionError: one of them cannot be compiled.
    """
    if name is None:
        if not Path(FILE).is_file():
            raise UsageError("no machine is named. Give module:attribute, or a folder that has a machine.py")
        name = "."
    return tuple(_machines(name, _behind(name)))


def find_machine(name: str | None, key: Key) -> Machine[Any, Any]:
    """The one of the machines behind `name` that `key` is an instance of.

    Raises:
        Misuse: it is not among them.
        DefinitionError: one of them cannot be compiled.
    """
    machines = {machine.id: machine for machine in find_machines(name)}
    if key.machine not in machines:
        raise UsageError(f"{key} is no instance of {', '.join(machines)}. Name its machine with --machine")
    return machines[key.machine]


def _behind(name: str) -> object:
    folder = Path(name)
    if folder.is_dir():
        if not (folder / FILE).is_file():
            raise UsageError(f"{name} has no {FILE}. Give module:attribute, or a folder that has one")
        return _attribute(name, load_file(folder / FILE), ATTRIBUTE)
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise UsageError(f"{name!r} names no machine. Give module:attribute, or a folder that has a {FILE}")
    return _attribute(name, load_module(module), attribute)


def _attribute(name: str, module: object, attribute: str) -> object:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{name}: there is no {attribute} in it")
        found = getattr(found, part)
    return found


def _machines(name: str, found: object) -> Iterator[Machine[Any, Any]]:
    all = _listed(found)
    if not all:
        raise UsageError(f"{name} is empty. Put the machines into it")
    for one in all:
        if not isinstance(one, Machine):
            raise UsageError(f"{name} is no machine but a {type(one).__name__}. Make one: setup(...).machine(config)")
        yield one


def _listed(found: object) -> Sequence[object]:
    return cast("Sequence[object]", found) if isinstance(found, list | tuple) else (found,)
