"""``settled start`` and ``settled send``: put a message into the queue, and perhaps wait for what becomes of it."""

from __future__ import annotations

import uuid
from typing import Annotated

from cyclopts import Parameter

from settled import Backend, Event, Key, Message, Outcome, Start, encode
from settled.message import check_id, check_start
from settled_cli.errors import Failure
from settled_cli.machines import find_machine
from settled_cli.opening import key_of, opened
from settled_cli.options import AsJson, BackendUrl, KeyText, MachineName, Timeout
from settled_cli.output import print_json
from settled_cli.sight import Sight, look, path_of, wait
from settled_cli.typed import event_of, input_of

MessageId = Annotated[str | None, Parameter(name="--id", help="The message's own id: the same one again repeats it.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait until a worker has taken it, and say where that led.")]

GOOD = frozenset({Outcome.TAKEN, Outcome.RESOLVED, Outcome.IGNORED})


def start(
    key: KeyText,
    /,
    *input: str,
    backend: BackendUrl = None,
    id: MessageId = None,
    wait: Wait = False,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Create an instance. One that exists already is left as it is.

    Args:
        input: The machine's input, as JSON or as name=text and name:=json.
    """
    where, body = key_of(key), encode(Start(input_of(input)))
    check_start(where)
    with opened(backend) as place:
        sent = _put(place, where, body, id)
        _answer(place, sent, "start", timeout if wait else None, json)


def send(
    key: KeyText,
    event: str,
    /,
    *fields: str,
    backend: BackendUrl = None,
    machine: MachineName = None,
    id: MessageId = None,
    wait: Wait = False,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Send an event to an instance. With --machine it is checked before it is sent, without when it is taken.

    Args:
        event: The event: its type, such as SUBMIT, or a JSON object.
        fields: What else is in it: name=text, or name:=json.
    """
    where, content = key_of(key), event_of(event, fields)
    if machine is not None:
        find_machine(machine, where).admit(content)
    with opened(backend) as place:
        sent = _put(place, where, encode(Event(content)), id)
        _answer(place, sent, str(content["type"]), timeout if wait else None, json)


def _put(place: Backend, key: Key, body: str, id: str | None) -> Message:
    check_id(id or "")
    message = Message(key, id or uuid.uuid4().hex, body)
    place.queue.send([message])
    return message


def _answer(place: Backend, sent: Message, what: str, timeout: float | None, json: bool) -> None:
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
    if outcome not in GOOD:
        raise Failure(f"{sent.key}: {what} was {outcome}; the instance is in {path_of(sight.value)}")
    if not json:
        print(f"{sent.key}: {what} was {outcome}; now in {path_of(sight.value)}")


def _taken(place: Backend, sent: Message) -> tuple[Sight, str] | None:
    sight = look(place.store, sent.key)
    outcome = sight and sight.outcome(sent)
    return (sight, outcome) if sight and outcome else None
