"""``settled list``: list instances, without the machines that they are of."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from settled_cli.arguments import AsJson, BackendUrl
from settled_cli.backend import key_of, opened
from settled_cli.output import print_json, print_table
from settled_cli.record_view import RecordView, look, moment, path_of


def list_instances(
    machine: Annotated[str | None, Parameter(help="Only instances of the machine with this id.")] = None,
    /,
    *,
    backend: BackendUrl = None,
    status: Annotated[
        str | None, Parameter(help="Only those that are active, done, error, stopped, halted or absent.")
    ] = None,
    after: Annotated[str | None, Parameter(help="Only those behind this key.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.", validator=Number(gte=1))] = 100,
    json: AsJson = False,
) -> None:
    """List instances, in the order of their keys."""
    behind = None if after is None else key_of(after)
    with opened(backend) as place:
        keys = [key for key, _ in place.store.scan(machine, behind, limit, status)]
        sights = [sight for key in keys if (sight := look(place.store, key))]
    if json:
        print_json([_row(sight) for sight in sights])
    else:
        print_table(("key", "status", "state", "tags", "updated"), (_cells(sight) for sight in sights))


def _row(sight: RecordView) -> dict[str, Any]:
    whole = sight.to_json()
    return {name: whole[name] for name in ("key", "status", "state", "value", "tags", "updated", "version", "halted")}


def _cells(sight: RecordView) -> tuple[str, ...]:
    index = sight.stored.index
    return (str(sight.key), index.status, path_of(sight.value), ", ".join(index.tags), moment(index.updated))
