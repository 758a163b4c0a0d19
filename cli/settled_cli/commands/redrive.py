"""``settled redrive``: let an instance take its dead letters after all."""

from __future__ import annotations

from settled_cli.arguments import AsJson, BackendUrl, KeyText, MachineName
from settled_cli.backend import key_of, opened
from settled_cli.machines import find_machine
from settled_cli.output import print_json
from settled_runtime import Client


def redrive(key: KeyText, /, *, backend: BackendUrl = None, machine: MachineName = None, json: AsJson = False) -> None:
    """Let an instance take its dead letters after all, in their order, before anything newer. A worker does it."""
    where = key_of(key)
    found = find_machine(machine, where)
    with opened(backend) as place:
        count = Client(found, place).redrive(where.instance)
    if json:
        print_json({"key": str(where), "redriven": count})
    else:
        print(f"{where}: {count} {'message is' if count == 1 else 'messages are'} to be taken again")
