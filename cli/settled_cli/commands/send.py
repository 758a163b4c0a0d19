"""``settled send``: send an event to an instance, and optionally wait for its outcome."""

from __future__ import annotations

from settled.durable import Event
from settled_cli.arguments import (
    AsJson,
    BackendUrl,
    CodecName,
    HeaderTexts,
    KeyText,
    MachineName,
    MessageId,
    Timeout,
    Wait,
)
from settled_cli.backend import open_backend, parse_key
from settled_cli.event_arguments import parse_event, parse_headers
from settled_cli.machines import find_machine
from settled_cli.messages import report, send_message


def send(
    key: KeyText,
    event: str,
    /,
    *fields: str,
    url: BackendUrl = None,
    codec: CodecName = None,
    machine: MachineName = None,
    id: MessageId = None,
    header: HeaderTexts = (),
    wait: Wait = False,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Send an event to an instance. With --machine it is validated before it is sent, otherwise by the worker.

    Args:
        event: The event: its type, such as SUBMIT, or a JSON object.
        fields: More fields of the event: name=text, or name:=json.
    """
    parsed_key, content = parse_key(key), parse_event(event, fields)
    if machine is not None:
        find_machine(machine, parsed_key).check_event(content)
    with open_backend(url, codec) as backend:
        message = send_message(backend, parsed_key, Event(content), id, parse_headers(header))
        report(backend, message, str(content["type"]), timeout if wait else None, json)
