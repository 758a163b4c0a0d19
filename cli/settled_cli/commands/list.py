"""``settled list``: list instances, without their machines."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from settled.printable import printable
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend, parse_key
from settled_cli.instance_view import InstanceView, format_time, load_view, state_path
from settled_cli.output import print_json, print_table
from settled_runtime.backend_commands import retried

InstanceStatus: TypeAlias = Literal["active", "done", "error", "stopped", "halted", "absent"]


def list_instances(
    machine: Annotated[str | None, Parameter(help="Only instances of the machine with this id.")] = None,
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    status: Annotated[
        InstanceStatus | None,
        Parameter(help="Only instances with this status; those that are absent were not started."),
    ] = None,
    after: Annotated[str | None, Parameter(help="Only keys that are listed after this one.")] = None,
    limit: Annotated[
        int, Parameter(help="The maximum number of instances.", validator=Number(gte=1, lte=1_000_000))
    ] = 100,
    json: AsJson = False,
) -> None:
    """List instances, in the order of their keys or, on AWS, in none. Standard error says if there are more."""
    after_key = None if after is None else parse_key(after)
    with open_backend(url, codec) as backend:
        # One more than is shown, to know whether there are more.
        found = [key for key, _ in retried(backend.store.scan, machine, after_key, limit + 1, status)]
        keys, has_more = found[:limit], len(found) > limit
        # Load each: a scan need not return bodies. An instance may have been deleted meanwhile.
        views = [view for key in keys if (view := load_view(backend.store, key))]
    if json:
        print_json(list(map(_to_json, views)))
    else:
        print_table(("key", "status", "state", "tags", "updated"), map(_to_row, views))
    if has_more:
        # Not among the rows: what reads them gets nothing else.
        last = printable(shlex.quote(str(keys[-1])))
        print(f"settled: there are more. Give --after {last}, or a higher --limit", file=sys.stderr)


def _to_json(view: InstanceView) -> dict[str, Any]:
    shown = view.to_json()
    return {name: shown[name] for name in _SHOWN_IN_JSON}


_SHOWN_IN_JSON = (
    "key",
    "machine",
    "instance",
    "status",
    "state",
    "value",
    "tags",
    "updated",
    "version",
    "halted",
    "watched",
)


def _to_row(view: InstanceView) -> tuple[str, ...]:
    index = view.stored.index
    status = index.status if view.record.watch is None else f"{index.status}, watched"
    return (str(view.key), status, state_path(view.value), ", ".join(index.tags), format_time(index.updated))
