"""``settled dead-letters``: list dead letters, with the reason of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from settled import Key
from settled.data import parse
from settled.durable import DeadLetter, Store
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend, parse_key
from settled_cli.instance_view import format_time
from settled_cli.output import print_json, print_table
from settled_runtime.backend_commands import retried

PAGE_SIZE = 100
"""How many instances are listed with one call of the store."""


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
        keys = _all_keys(backend.store) if only is None else iter((only,))
        found = [dead_letter for each in keys for dead_letter in retried(backend.store.dead_letters, each)]
    if json:
        print_json([_to_json(dead_letter) for dead_letter in found])
    else:
        print_table(("key", "id", "message", "reason", "detail", "at"), map(_to_row, found))


def _all_keys(store: Store) -> Iterator[Key]:
    after: Key | None = None
    while page := retried(store.scan, None, after, PAGE_SIZE):
        for key, _ in page:
            yield key
        after = page[-1][0]


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
