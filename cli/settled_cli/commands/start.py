"""``settled start``: create an instance, and perhaps wait until a worker has."""

from __future__ import annotations

from settled.durable import Start, encode
from settled.durable.messages import check_start
from settled_cli.arguments import AsJson, BackendUrl, KeyText, Timeout
from settled_cli.backend import key_of, opened
from settled_cli.event_arguments import input_of
from settled_cli.put import MessageId, Wait, answer, put


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
        sent = put(place, where, body, id)
        answer(place, sent, "start", timeout if wait else None, json)
