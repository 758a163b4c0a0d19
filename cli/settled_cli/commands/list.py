"""``settled list``: list instances, without their machines."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from settled_cli.arguments import AsJson, BackendUrl
from settled_cli.backend import open_backend, parse_key
from settled_cli.instance_view import InstanceView, format_time, load_view, state_path
from settled_cli.output import print_json, print_table


def list_instances(
    machine: Annotated[str | None, Parameter(help="Only instances of the machine with this id.")] = None,
    /,
    *,
    url: BackendUrl = None,
    status: Annotated[
        str | None,
        Parameter(help="Only instances that are active, done, error, stopped, halted or absent (not started)."),
    ] = None,
    after: Annotated[str | None, Parameter(help="Only keys that sort after this one.")] = None,
    limit: Annotated[int, Parameter(help="The maximum number of instances.", validator=Number(gte=1))] = 100,
    json: AsJson = False,
) -> None:
    """List instances, in the order of their keys."""
    after_key = None if after is None else parse_key(after)
    with open_backend(url) as backend:
        keys = [key for key, _ in backend.store.scan(machine, after_key, limit, status)]
        # Load each: a scan need not return bodies. An instance may have been deleted meanwhile.
        views = [view for key in keys if (view := load_view(backend.store, key))]
    if json:
        print_json(list(map(_to_json, views)))
    else:
        print_table(("key", "status", "state", "tags", "updated"), map(_to_row, views))


def _to_json(view: InstanceView) -> dict[str, Any]:
    shown = view.to_json()
    return {name: shown[name] for name in ("key", "status", "state", "value", "tags", "updated", "version", "halted")}


def _to_row(view: InstanceView) -> tuple[str, ...]:
    index = view.stored.index
    return (str(view.key), index.status, state_path(view.value), ", ".join(index.tags), format_time(index.updated))
