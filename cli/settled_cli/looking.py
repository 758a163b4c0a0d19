"""``settled get`` and ``settled list``: look at instances, without the machines that they are of."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from settled import Backend, Key
from settled_cli.errors import Failure
from settled_cli.opening import key_of, opened
from settled_cli.options import AsJson, BackendUrl, KeyText, Timeout
from settled_cli.output import print_facts, print_json, print_table
from settled_cli.sight import Sight, look, moment, path_of, wait


def get(
    key: KeyText,
    /,
    *,
    backend: BackendUrl = None,
    until: Annotated[str | None, Parameter(help="Wait until this state is active; a dotted path.")] = None,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Show where an instance is, and what it waits for."""
    where = key_of(key)
    with opened(backend) as place:
        sight = look(place.store, where) if until is None else _wait_for(place, where, until, timeout)
    if sight is None:
        raise Failure(
            f"{where}: there is no such instance. Run a worker if it was just started, or: settled start {where}"
        )
    if json:
        print_json(sight.to_json())
    else:
        print_facts(_facts(sight))


def _wait_for(place: Backend, key: Key, state: str, timeout: float) -> Sight:
    def there() -> Sight | None:
        sight = look(place.store, key)
        return sight if sight is not None and sight.is_in(state) else None

    return wait(there, timeout, f"{key} to be in {state}")


def _facts(sight: Sight) -> list[tuple[str, Any]]:
    shown, snapshot = sight.to_json(), sight.snapshot or {}
    return [
        ("key", str(sight.key)),
        ("state", path_of(sight.value)),
        ("status", sight.stored.index.status),
        ("halted", shown["halted"]),
        ("tags", ", ".join(sight.stored.index.tags)),
        ("context", snapshot.get("context")),
        ("output", snapshot.get("output")),
        ("error", snapshot.get("error")),
        ("turn", _waiting_for(sight.turn)),
        ("failing", shown["failing"]),
        *(("timer", f"{timer['due']}: {_type(timer['event'])}") for timer in sight.timers),
        ("updated", str(shown["updated"])),
        ("record", f"version {sight.stored.version}, {sight.size} bytes"),
    ]


def _waiting_for(turn: dict[str, Any] | None) -> str | None:
    if turn is None:
        return None
    calls = [f"{call['src']}, attempt {call['attempt']}" for call in turn["calls"]]
    return f"open, waiting for {' and '.join(calls) or 'a timer'}"


def _type(event: Any) -> str:
    return str(event["type"])


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


def _row(sight: Sight) -> dict[str, Any]:
    whole = sight.to_json()
    return {name: whole[name] for name in ("key", "status", "state", "value", "tags", "updated", "version", "halted")}


def _cells(sight: Sight) -> tuple[str, ...]:
    index = sight.stored.index
    return (str(sight.key), index.status, path_of(sight.value), ", ".join(index.tags), moment(index.updated))
