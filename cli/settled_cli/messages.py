"""Send a message to an instance, and report its outcome: `start` and `send` share this."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial

from settled import Key, Outcome
from settled.durable import Backend, Event, Message, Start
from settled.durable.limits import message_from_outside
from settled_cli.errors import CommandError, EventIgnoredError
from settled_cli.instance_view import InstanceView, state_path, wait_for
from settled_cli.output import print_json, print_line
from settled_runtime.backend_commands import retried

FAILURES = frozenset({Outcome.REJECTED, Outcome.FAILED, Outcome.INVALID, Outcome.DEAD_LETTERED})


def send_message(
    backend: Backend, key: Key, content: Start | Event, id: str | None, headers: Mapping[str, str]
) -> Message:
    """Send a message with `content` to `key`, under a random id if `id` is None.

    Raises:
        EventError: a message may not have this id, key, content or these headers; see `settled.durable.limits`.
        TooLargeError: it is too large.
    """
    message = message_from_outside(key, id or uuid.uuid4().hex, content, headers)
    retried(backend.queue.send, [message])  # under the same id, so it takes effect once
    return message


def report(
    backend: Backend, message: Message, name: str, timeout: float | None, json: bool, *, may_be_ignored: bool = False
) -> None:
    """Print that `message` is in the queue or, with a `timeout` in seconds, wait for its outcome and print that.

    Raises:
        EventIgnoredError: it was ignored, unless it `may_be_ignored`.
        CommandError: its outcome is one of `FAILURES`, or no worker processed it in time.
    """
    facts = {"key": str(message.key), "id": message.id}
    if timeout is None:
        if json:
            print_json(facts)
        else:
            print_line(f"{message.key}: {name} is in the queue, as {message.id}")
        return
    find = partial(_find_outcome, message)
    view, outcome, reason = wait_for(backend, message.key, find, timeout, f"{message.key} to take {name}")
    state = state_path(view.value)
    if json:
        print_json({**facts, "outcome": outcome, "reason": reason, "state": state})
    # After the JSON: a script gets the outcome on standard output, too, when the exit status says that it failed.
    text = f"{message.key}: {name} was {outcome}{f': {reason}' if reason else ''}"
    if outcome is Outcome.IGNORED and not may_be_ignored:
        raise EventIgnoredError(f"{text}; the instance is in {state}")
    if outcome in FAILURES:
        raise CommandError(f"{text}; the instance is in {state}")
    if not json:
        print_line(f"{text}; now in {state}")


def _find_outcome(message: Message, view: InstanceView | None) -> tuple[InstanceView, Outcome, str | None] | None:
    found = view and view.outcome(message)
    return (view, *found) if view and found else None
