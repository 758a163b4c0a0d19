"""``settled dead-letters``: list dead letters, with the reason of each."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from settled.data import parse
from settled.durable import DeadLetter
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend, parse_key
from settled_cli.instance_view import format_time
from settled_cli.output import print_json, print_table
from settled_runtime.backend_commands import retried
from settled_runtime.overdue import all_keys


def dead_letters(
    key: Annotated[str | None, Parameter(help="The instance; without it, every instance is searched.")] = None,
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    json: AsJson = False,
) -> None:
    """List dead letters, with the reason of each, in the order in which a redrive would process them."""
    only = None if key is None else parse_key(key)
    with open_backend(url, codec) as backend:
        keys = all_keys(backend) if only is None else iter((only,))
        found = [dead_letter for each in keys for dead_letter in retried(backend.store.dead_letters, each)]
    if json:
        print_json([_to_json(dead_letter) for dead_letter in found])
    else:
        print_table(("key", "id", "message", "reason", "detail", "at"), map(_to_row, found))


def _to_json(dead_letter: DeadLetter) -> dict[str, Any]:
    message = dead_letter.message
    return {
        "key": str(message.key),
        "id": message.id,
        "message": _parse_body(message.body),
        "headers": message.headers,
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "at": format_time(dead_letter.at),
    }


def _to_row(dead_letter: DeadLetter) -> tuple[str, ...]:
    message = dead_letter.message
    at = format_time(dead_letter.at)
    return (str(message.key), message.id, message.body, dead_letter.reason, dead_letter.detail, at)


def _parse_body(body: str) -> Any:
    # A message that is not settled's becomes a dead letter, too, so the body may be any text.
    try:
        return parse(body)
    except ValueError:
        return body
