"""``settled send``: put an event into the queue, and perhaps wait for what becomes of it."""

from __future__ import annotations

from settled.durable import Event, encode
from settled_cli.arguments import AsJson, BackendUrl, KeyText, MachineName, Timeout
from settled_cli.backend import key_of, opened
from settled_cli.event_arguments import event_of
from settled_cli.machines import find_machine
from settled_cli.put import MessageId, Wait, answer, put


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
        sent = put(place, where, encode(Event(content)), id)
        answer(place, sent, str(content["type"]), timeout if wait else None, json)
