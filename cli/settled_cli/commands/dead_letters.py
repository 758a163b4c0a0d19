"""``settled dead-letters``: list what was set aside, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from settled import Key
from settled.data import parse
from settled.durable import Backend, DeadLetter
from settled_cli.arguments import AsJson, BackendUrl
from settled_cli.backend import key_of, opened
from settled_cli.output import print_json, print_table
from settled_cli.record_view import moment

PAGE = 100
"""How many instances are looked at in one go."""


def dead_letters(
    key: Annotated[str | None, Parameter(help="The instance; without it, all are looked at.")] = None,
    /,
    *,
    backend: BackendUrl = None,
    json: AsJson = False,
) -> None:
    """List the messages that were set aside, and why, in the order in which they would be taken."""
    only = None if key is None else key_of(key)
    with opened(backend) as place:
        keys = _all_keys(place) if only is None else iter((only,))
        letters = [letter for each in keys for letter in place.store.dead_letters(each)]
    if json:
        print_json([_row(letter) for letter in letters])
    else:
        print_table(("key", "id", "message", "reason", "detail", "at"), (_cells(letter) for letter in letters))


def _all_keys(place: Backend) -> Iterator[Key]:
    after: Key | None = None
    while page := place.store.scan(None, after, PAGE):
        for key, _ in page:
            yield key
        after = page[-1][0]


def _row(letter: DeadLetter) -> dict[str, Any]:
    message = letter.message
    return {
        "key": str(message.key),
        "id": message.id,
        "message": _content(message.body),
        "reason": letter.reason,
        "detail": letter.detail,
        "at": moment(letter.at),
    }


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    message = letter.message
    return (str(message.key), message.id, message.body, letter.reason, letter.detail, moment(letter.at))


def _content(body: str) -> Any:
    """The message as JSON, or as the text it is: whatever somebody put into the queue may lie here."""
    try:
        return parse(body)
    except ValueError:
        return body
