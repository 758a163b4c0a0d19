"""``settled send-many``: send the events in a file, and start the instances in it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import ExistingFile

from settled import SettledError
from settled.data import is_object
from settled.durable import Backend, Event, Message, Start, check_headers
from settled.durable.limits import message_from_outside
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend, parse_key
from settled_cli.errors import CommandError, UsageError
from settled_cli.event_arguments import parse_event, parse_json
from settled_cli.output import print_json, print_line
from settled_runtime.many import send_each

FIELDS = frozenset({"key", "event", "input", "id", "headers"})


def send_many(
    file: Annotated[ExistingFile, Parameter(help="JSON objects, one a line, with a key, and an event or an input.")],
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    json: AsJson = False,
) -> None:
    """Send the events in a file, and start the instances in it, in their order. With ids it is safe to repeat."""
    messages = _read(file)
    with open_backend(url, codec) as backend:
        failures = _send(backend, messages)
    if json:
        print_json({"sent": len(messages) - len(failures), "failed": failures})
    else:
        for failure in failures:
            print_line(f"line {failure['line']}: {failure['key']}: {failure['error']}")
    sent = f"{len(messages) - len(failures)} of {len(messages)} messages sent"
    if failures:
        raise CommandError(f"{sent}; send the others again under the ids they have, and each takes effect once")
    if not json:
        print_line(sent)


def _send(backend: Backend, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Send `messages`, and return what was not sent, and why."""
    sent = 0

    def send(part: Sequence[Message]) -> None:
        nonlocal sent
        backend.queue.send(part)
        sent += len(part)
        if sys.stderr.isatty():
            print(f"\r{sent} of {len(messages)}", end="", file=sys.stderr, flush=True)

    errors = send_each(send, messages)
    if sys.stderr.isatty() and sent:
        print(file=sys.stderr)
    return [
        {"line": line, "key": str(message.key), "id": message.id, "error": str(error)}
        for line, (message, error) in enumerate(zip(messages, errors, strict=True), 1)
        if error is not None
    ]


def _read(file: Path) -> Sequence[Message]:
    """Return the messages of `file`.

    Raises:
        UsageError: a line is not one of a message; nothing was sent.
    """
    messages: list[Message] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            messages.append(_message(parse_json(line)))
        except (SettledError, UsageError, TypeError, ValueError) as error:
            raise UsageError(f"{file}, line {number}: {error}. Nothing was sent") from error
    return messages


def _message(fields: Any) -> Message:
    if not is_object(fields) or not isinstance(fields.get("key"), str) or ("event" in fields) == ("input" in fields):
        raise UsageError('a line is a JSON object with a "key", such as "signup/ada", and an "event" or an "input"')
    if unknown := fields.keys() - FIELDS:
        raise UsageError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(sorted(FIELDS))}")
    id = fields.get("id", uuid.uuid4().hex)
    if not isinstance(id, str) or not id:
        raise UsageError("an id is a text that is not empty")
    content = Event(_event(fields["event"])) if "event" in fields else Start(fields["input"])
    return message_from_outside(parse_key(fields["key"]), id, content, check_headers(fields.get("headers", {})))


def _event(event: Any) -> Any:
    if isinstance(event, str):
        return parse_event(event, ())
    if not is_object(event):
        raise UsageError('an event is a JSON object with a "type", or just the type')
    type = event.get("type")
    if not isinstance(type, str) or not type or type == "*" or type.startswith("xstate."):
        raise UsageError(f"an event from outside cannot have the type {type!r}")
    return event
