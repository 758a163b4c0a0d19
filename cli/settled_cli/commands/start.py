"""``settled start``: create an instance, and optionally wait until a worker has done so."""

from __future__ import annotations

from settled.durable import Start
from settled_cli.arguments import AsJson, BackendUrl, CodecName, HeaderTexts, KeyText, MessageId, Timeout, Wait
from settled_cli.backend import open_backend, parse_key
from settled_cli.event_arguments import parse_headers, parse_input
from settled_cli.messages import report, send_message


def start(
    key: KeyText,
    /,
    *input: str,
    url: BackendUrl = None,
    codec: CodecName = None,
    id: MessageId = None,
    header: HeaderTexts = (),
    wait: Wait = False,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Create an instance. If it exists already, nothing changes.

    Args:
        input: The machine's input, as JSON or as name=text and name:=json.
    """
    parsed_key, content = parse_key(key), Start(parse_input(input))
    with open_backend(url, codec) as backend:
        message = send_message(backend, parsed_key, content, id, parse_headers(header))
        report(backend, message, "start", timeout if wait else None, json, may_be_ignored=True)
