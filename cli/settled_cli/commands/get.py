"""``settled get``: show one instance, without the machine that it is of."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from settled import Key
from settled.durable import Backend
from settled_cli.arguments import AsJson, BackendUrl, KeyText, Timeout
from settled_cli.backend import key_of, opened
from settled_cli.errors import CommandError
from settled_cli.output import print_facts, print_json
from settled_cli.record_view import RecordView, look, path_of, wait


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
        raise CommandError(
            f"{where}: there is no such instance. Run a worker if it was just started, or: settled start {where}"
        )
    if json:
        print_json(sight.to_json())
    else:
        print_facts(_facts(sight))


def _wait_for(place: Backend, key: Key, state: str, timeout: float) -> RecordView:
    def there() -> RecordView | None:
        sight = look(place.store, key)
        return sight if sight is not None and sight.is_in(state) else None

    return wait(there, timeout, f"{key} to be in {state}")


def _facts(sight: RecordView) -> list[tuple[str, Any]]:
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
    actors = [f"{actor['src']}, attempt {actor['attempt']}" for actor in turn["actors"]]
    return f"open, waiting for {' and '.join(actors) or 'a timer'}"


def _type(event: Any) -> str:
    return str(event["type"])
