"""``settled redrive``: process the dead letters of an instance again."""

from __future__ import annotations

from settled_cli.arguments import AsJson, BackendUrl, CodecName, KeyText, MachineName
from settled_cli.backend import open_backend, parse_key
from settled_cli.machines import find_machine
from settled_cli.output import print_json, print_line
from settled_runtime import Client


def redrive(
    key: KeyText,
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    machine: MachineName = None,
    json: AsJson = False,
) -> None:
    """Let a worker process the dead letters of an instance again, in their order, before any newer message."""
    parsed_key = parse_key(key)
    found = find_machine(machine, parsed_key)
    with open_backend(url, codec) as backend:
        count = Client(found, backend).redrive(parsed_key.instance)
    if json:
        print_json({"key": str(parsed_key), "redriven": count})
    else:
        print_line(f"{parsed_key}: {count} {'dead letter' if count == 1 else 'dead letters'} will be redriven")
