"""``settled diagram``: draw a machine as text, for Mermaid or Graphviz to render."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from settled import Chart, Configuration, Key, dot, mermaid
from settled.chart.state_value import expand_path
from settled_cli.arguments import BackendUrl, CodecName, FileName
from settled_cli.backend import open_backend, parse_key
from settled_cli.errors import CommandError, UsageError
from settled_cli.event_arguments import parse_json
from settled_cli.instance_view import load_view
from settled_cli.machines import find_charts


def draw(
    file: FileName,
    /,
    *,
    format: Annotated[Literal["mermaid", "dot"], Parameter(help="The language of the diagram.")] = "mermaid",
    machine: Annotated[str | None, Parameter(help="The id of the machine, if there are several.")] = None,
    active: Annotated[
        str | None, Parameter(help="Mark this state as active: a dotted path, or a state value in JSON.")
    ] = None,
    instance: Annotated[str | None, Parameter(help="Mark the active states of an instance, MACHINE/INSTANCE.")] = None,
    url: BackendUrl = None,
    codec: CodecName = None,
) -> None:
    """Draw a machine. Nodes tagged `settled` are green; active nodes have a thick blue border."""
    if active is not None and instance is not None:
        raise UsageError("give the active states by --active or by --instance, not by both")
    key = None if instance is None else parse_key(instance)
    chart = _find_chart(file, machine or (key and key.machine))
    if key is not None and key.machine != chart.id:
        raise UsageError(f"{key} is not an instance of {chart.id}")
    value = _parse_value(active) if key is None else _load_value(key, url, codec)
    configuration = None if value is None else _resolve(chart, value)
    language = {"mermaid": mermaid, "dot": dot}[format]
    print(language(chart, configuration), end="")


def _find_chart(file: str, id: str | None) -> Chart:
    all = [each.chart for each in find_charts(file)]
    matching = [chart for chart in all if id in (None, chart.id)]
    if len(matching) != 1:
        names = ", ".join(chart.id for chart in all)
        raise UsageError(f"{file} has {names}{'' if id is None else f', not {id}'}. Name one of them with --machine")
    return matching[0]


def _parse_value(text: str | None) -> Any:
    return text if text is None or not text.lstrip().startswith("{") else parse_json(text)


def _load_value(key: Key, url: str | None, codec: str | None) -> Any:
    with open_backend(url, codec) as backend:
        view = load_view(backend.store, key)
    if view is None or view.value is None:
        raise CommandError(f"{key}: there is no such instance")
    return view.value


def _resolve(chart: Chart, value: Any) -> Configuration:
    try:
        return chart.resolve(expand_path(value))
    except LookupError as error:
        raise UsageError(f"{error.args[0]} of the machine {chart.id}") from error
