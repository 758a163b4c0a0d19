"""Send a message to an instance, and report its outcome: `start` and `send` share this."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from settled import Key, Outcome
from settled.durable import Backend, Message, check_headers
from settled.durable.messages import check_id
from settled_cli.errors import CommandError
from settled_cli.instance_view import InstanceView, load_view, poll, state_path
from settled_cli.output import print_json

SUCCESSFUL = frozenset({Outcome.TAKEN, Outcome.RESOLVED, Outcome.IGNORED})


def send_message(backend: Backend, key: Key, body: str, id: str | None, headers: Mapping[str, str]) -> Message:
    """Send a message with `body` to `key`, under a random id if `id` is None.

    Raises:
        EventError: `id` is reserved for messages that machines send, or a message may not have these headers.
    """
    check_id(id or "")
    message = Message(key, id or uuid.uuid4().hex, body, check_headers(headers))
    backend.queue.send([message])
    return message


def report(backend: Backend, message: Message, name: str, timeout: float | None, json: bool) -> None:
    """Print that `message` is in the queue or, with a `timeout` in seconds, wait for its outcome and print that.

    Raises:
        CommandError: its outcome is none of `SUCCESSFUL`, or no worker processed it in time.
    """
    facts = {"key": str(message.key), "id": message.id}
    if timeout is None:
        if json:
            print_json(facts)
        else:
            print(f"{message.key}: {name} is in the queue, as {message.id}")
        return
    view, outcome = poll(lambda: _find_outcome(backend, message), timeout, f"{message.key} to take {name}")
    state = state_path(view.value)
    if json:
        print_json({**facts, "outcome": outcome, "state": state})
    # After the JSON: a script gets the outcome on standard output, too, when the exit status says that it failed.
    if outcome not in SUCCESSFUL:
        raise CommandError(f"{message.key}: {name} was {outcome}; the instance is in {state}")
    if not json:
        print(f"{message.key}: {name} was {outcome}; now in {state}")


def _find_outcome(backend: Backend, message: Message) -> tuple[InstanceView, str] | None:
    view = load_view(backend.store, message.key)
    outcome = view and view.outcome(message)
    return (view, outcome) if view and outcome else None
