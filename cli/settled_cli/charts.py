"""Machines to look at: of a JSON file, which has no logic, or those that Python knows by a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from attrs import frozen
from cyclopts import Parameter

from settled import Chart, Machine, compile_chart
from settled_cli.errors import UsageError
from settled_cli.machines import find_machines

FileName: TypeAlias = Annotated[
    str, Parameter(help="XState JSON; or module:attribute, or a folder that has a machine.py, which have logic too.")
]


@frozen
class NamedChart:
    """A chart, what to call it, and the machine that it is of unless it is all there is."""

    name: str
    chart: Chart
    machine: Machine[Any, Any] | None = None


def find_charts(name: str) -> Iterator[NamedChart]:
    """The charts behind `name`.

    Raises:
        Misuse: there are none.
        DefinitionError: one of them cannot be compiled.
    """
    path = Path(name)
    if path.suffix == ".py":
        raise UsageError(f"{name} is Python. Give module:attribute, or a folder that has a machine.py")
    if path.is_file() or path.suffix == ".json":
        yield NamedChart(name, compile_chart(_text(path)))
    else:
        yield from (NamedChart(machine.id, machine.chart, machine) for machine in find_machines(name))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {reason}") from error
