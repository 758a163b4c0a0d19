"""``settled dead-letters`` and ``settled redrive``: what was set aside, and how it is taken after all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from settled import Backend, DeadLetter, Key
from settled.data import parse
from settled_cli.machines import find_machine
from settled_cli.opening import key_of, opened
from settled_cli.options import AsJson, BackendUrl, KeyText, MachineName
from settled_cli.output import print_json, print_table
from settled_cli.sight import moment
from settled_runtime import Client

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


def redrive(key: KeyText, /, *, backend: BackendUrl = None, machine: MachineName = None, json: AsJson = False) -> None:
    """Let an instance take its dead letters after all, in their order, before anything newer. A worker does it."""
    where = key_of(key)
    found = find_machine(machine, where)
    with opened(backend) as place:
        count = Client(found, place).redrive(where.instance)
    if json:
        print_json({"key": str(where), "redriven": count})
    else:
        print(f"{where}: {count} {'message is' if count == 1 else 'messages are'} to be taken again")
