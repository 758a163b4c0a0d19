"""Put a message into the queue, and wait for its outcome."""

from __future__ import annotations

import uuid
from typing import Annotated

from cyclopts import Parameter

from settled import Key, Outcome
from settled.durable import Backend, Message
from settled.durable.messages import check_id
from settled_cli.errors import CommandError
from settled_cli.output import print_json
from settled_cli.record_view import RecordView, look, path_of, wait

MessageId = Annotated[str | None, Parameter(name="--id", help="The message's own id: the same one again repeats it.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait until a worker has taken it, and say where that led.")]

SUCCESSFUL = frozenset({Outcome.TAKEN, Outcome.RESOLVED, Outcome.IGNORED})


def put(place: Backend, key: Key, body: str, id: str | None) -> Message:
    """Put a message with `body` for `key` into the queue.

    Raises:
        EventError: `id` is reserved for messages that machines send.
    """
    check_id(id or "")
    message = Message(key, id or uuid.uuid4().hex, body)
    place.queue.send([message])
    return message


def answer(place: Backend, sent: Message, what: str, timeout: float | None, json: bool) -> None:
    """Print that the message `sent` was queued or, with a `timeout` in seconds, wait for its outcome and print that.

    Raises:
        Failure: it was rejected, or nobody took it in time.
    """
    answer = {"key": str(sent.key), "id": sent.id}
    if timeout is None:
        if json:
            print_json(answer)
        else:
            print(f"{sent.key}: {what} is in the queue, as {sent.id}")
        return
    sight, outcome = wait(lambda: _taken(place, sent), timeout, f"{sent.key} to take {what}")
    if json:
        print_json({**answer, "outcome": outcome, "state": path_of(sight.value)})
    if outcome not in SUCCESSFUL:
        raise CommandError(f"{sent.key}: {what} was {outcome}; the instance is in {path_of(sight.value)}")
    if not json:
        print(f"{sent.key}: {what} was {outcome}; now in {path_of(sight.value)}")


def _taken(place: Backend, sent: Message) -> tuple[RecordView, str] | None:
    sight = look(place.store, sent.key)
    outcome = sight and sight.outcome(sent)
    return (sight, outcome) if sight and outcome else None
