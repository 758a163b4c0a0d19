"""``settled diagram``: a machine as a picture, or rather as the text that Mermaid or Graphviz makes one of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from settled import Chart, Configuration, Key, dot, mermaid
from settled.chart.state_value import expand_path
from settled.data import parse
from settled_cli.arguments import BackendUrl
from settled_cli.backend import opened
from settled_cli.charts import FileName, NamedChart, find_charts
from settled_cli.errors import CommandError, UsageError
from settled_cli.record_view import look


def draw(
    file: FileName,
    /,
    *,
    format: Annotated[Literal["mermaid", "dot"], Parameter(help="The language of the diagram.")] = "mermaid",
    machine: Annotated[str | None, Parameter(help="The id of the machine, if there are several.")] = None,
    active: Annotated[
        str | None, Parameter(help="Mark this state as active: a dotted path, or a state value in JSON.")
    ] = None,
    instance: Annotated[str | None, Parameter(help="Mark what is active in this instance of the backend.")] = None,
    backend: BackendUrl = None,
) -> None:
    """Draw a machine: nodes where it is settled are green, those that are active have a thick blue border."""
    if active is not None and instance is not None:
        raise UsageError("what is active is given by --active or by --instance, not by both")
    chart = _one(file, machine).chart
    value = _value_of(Key(chart.id, instance), backend) if instance is not None else _value_in(active)
    configuration = None if value is None else _configuration(chart, value)
    language = {"mermaid": mermaid, "dot": dot}[format]
    print(language(chart, configuration), end="")


def _one(file: str, id: str | None) -> NamedChart:
    all = list(find_charts(file))
    found = [looked for looked in all if id in (None, looked.chart.id)]
    if len(found) != 1:
        raise UsageError(f"{file} has {', '.join(looked.chart.id for looked in all)}. Name one of them with --machine")
    return found[0]


def _value_in(text: str | None) -> Any:
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}: {text}") from error


def _value_of(key: Key, backend: str | None) -> Any:
    with opened(backend) as place:
        sight = look(place.store, key)
    if sight is None or sight.value is None:
        raise CommandError(f"{key}: there is no such instance")
    return sight.value


def _configuration(chart: Chart, value: Any) -> Configuration:
    try:
        return chart.resolve(expand_path(value))
    except LookupError as error:
        raise UsageError(f"{error.args[0]} of the machine {chart.id}") from error
