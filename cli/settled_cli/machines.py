"""Find machines and charts by the names that users type.

A machine's name is ``module:attribute``, or a folder, which means the attribute ``machine`` of its ``machine.py``. The
attribute is one machine or a list of them. A chart can also come from a JSON file, which contains no logic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from settled import Chart, Key, Machine, compile_chart
from settled_cli.errors import UsageError
from settled_cli.loading import load_file, load_module
from settled_runtime import Codec

FILE, ATTRIBUTE = "machine.py", "machine"


@frozen
class NamedChart:
    """A chart, its display name, and its machine if the logic was loaded."""

    name: str
    chart: Chart
    machine: Machine[Any] | None = None


def find_machines(name: str | None) -> tuple[Machine[Any], ...]:
    """Load the machines that `name` refers to; without a name, those of the working directory.

    Raises:
        UsageError: there are none, or two have the same id.
        DefinitionError: one of them cannot be compiled.
    """
    if name is None:
        if not Path(FILE).is_file():
            raise UsageError("no machine is named. Give module:attribute, or a folder that has a machine.py")
        name = "."
    return with_distinct_ids((name, machine) for machine in _checked_machines(name, _load(name)))


def with_distinct_ids(named: Iterable[tuple[str, Machine[Any]]]) -> tuple[Machine[Any], ...]:
    """Return the machines in `named`, each once; they are given with the names by which they were found.

    Raises:
        UsageError: two have the same id.
    """
    found: dict[str, tuple[str, Machine[Any]]] = {}
    for name, machine in named:
        first, known = found.setdefault(machine.id, (name, machine))
        if known is not machine:
            raise UsageError(f'two machines have the id "{machine.id}": one of {first}, and one of {name}')
    return tuple(machine for _, machine in found.values())


def find_machine(name: str | None, key: Key) -> Machine[Any]:
    """Load the machines that `name` refers to, and return the one that `key` is an instance of.

    Raises:
        UsageError: none of them has this id.
        DefinitionError: one of them cannot be compiled.
    """
    machines = {machine.id: machine for machine in find_machines(name)}
    if key.machine not in machines:
        raise UsageError(f"{key} is not an instance of {', '.join(machines)}. Name its machine with --machine")
    return machines[key.machine]


def find_charts(name: str) -> Iterator[NamedChart]:
    """Load the charts that `name` refers to: that of a JSON file, or those of machines.

    Raises:
        UsageError: there are none.
        DefinitionError: one of them cannot be compiled.
    """
    path = Path(name)
    if path.suffix == ".py":
        raise UsageError(f"{name} is Python. Give module:attribute, or a folder that has a machine.py")
    if path.is_file() or path.suffix == ".json":
        yield NamedChart(name, compile_chart(_read_text(path)))
    else:
        yield from (NamedChart(machine.id, machine.chart, machine) for machine in find_machines(name))


def find_function(name: str, what: str) -> Callable[..., Any]:
    """Load ``module:function``; `what` it is for completes the error, such as ``an observer``.

    Raises:
        UsageError: there is none, or it is not a function.
    """
    function = _load_attribute(name, f"{what}. Give module:function")
    if not callable(function):
        raise UsageError(f"{name} is not a function but a {type(function).__name__}")
    return cast("Callable[..., Any]", function)


def find_codec(name: str) -> Codec:
    """Load the codec ``module:attribute``.

    Raises:
        UsageError: there is none, or it is not a codec.
    """
    codec = _load_attribute(name, "a codec. Give module:attribute")
    if not callable(getattr(codec, "encode", None)) or not callable(getattr(codec, "decode", None)):
        raise UsageError(f"{name} is not a codec but a {type(codec).__name__}. Make one: Encryption({{...}})")
    return cast("Codec", codec)


def _load(name: str) -> object:
    """Import what `name` refers to: the attribute of a module, or a folder's ``machine``.

    Raises:
        UsageError: there is no such module, attribute or folder.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / FILE).is_file():
            raise UsageError(f"{name} has no {FILE}. Give module:attribute, or a folder that has one")
        return _get_attribute(name, load_file(folder / FILE), ATTRIBUTE)
    return _load_attribute(name, f"a machine. Give module:attribute, or a folder that has a {FILE}")


def _load_attribute(name: str, what: str) -> Any:
    """Import the attribute of a module that `name`, ``module:attribute``, refers to.

    Raises:
        UsageError: there is none; the text is "... does not name `what`" if `name` has another form.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise UsageError(f"{name!r} does not name {what}")
    return _get_attribute(name, load_module(module), attribute)


def _get_attribute(name: str, module: object, attribute: str) -> object:
    value = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise UsageError(f"{name}: it has no attribute {attribute}")
        value = getattr(value, part)
    return value


def _checked_machines(name: str, value: object) -> Iterator[Machine[Any]]:
    all: list[object] = list(cast("list[object]", value)) if isinstance(value, list | tuple) else [value]
    if not all:
        raise UsageError(f"{name} is an empty list. Add machines to it")
    for each in all:
        if not isinstance(each, Machine):
            raise UsageError(
                f"{name} is not a machine but a {type(each).__name__}. Make one: setup(...).machine(config)"
            )
        yield each


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows may begin a file with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {reason}") from error
