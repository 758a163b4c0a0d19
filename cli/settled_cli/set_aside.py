"""Messages in a file: set aside from the queue, and brought back.

A message leaves the queue only after it is on the disk. A crash in between leaves it in both places, and when it is
brought back, its id tells that it is there already. The file has one JSON object a line, in the order of the queue.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from settled import EventError, Key
from settled.durable import Backend, Capability, Message, check_headers
from settled_cli.errors import CommandError
from settled_runtime.backend_commands import retried

BATCH = 100
"""How many messages are moved at once."""


def set_aside(backend: Backend, machine: str, file: Path) -> int:
    """Append the waiting messages of `machine` to `file`, and remove them from the queue; return how many there were.

    Raises:
        CommandError: the backend cannot select the messages of a machine, or cannot take them out.
    """
    for capability in (Capability.SELECTIVE_RECEIVE, Capability.BACKLOG):
        if capability not in backend.capabilities:
            raise CommandError(f"this backend cannot set messages aside: it does not declare {capability}")
    count = 0
    with file.open("a", encoding="ascii") as out:
        while deliveries := retried(backend.queue.receive, BATCH, machines={machine}):
            out.writelines(f"{_line(each.message)}\n" for each in deliveries)
            out.flush()
            # Before they leave the queue: from then on they are nowhere else.
            os.fsync(out.fileno())
            retried(backend.queue.withdraw, deliveries)
            count += len(deliveries)
    return count


def bring_back(backend: Backend, file: Path) -> int:
    """Send the messages of `file` in their order, before those of the same machines that wait now.

    Return how many there were. Those that wait are set aside first, at the end of `file`: so nothing overtakes them.

    Raises:
        CommandError: as `set_aside`, or a line of the file is not one of its lines.
    """
    for machine in sorted({message.key.machine for message in _read(file)}):
        set_aside(backend, machine, file)
    # Once each: an earlier attempt may have sent some of them, which were then set aside once more.
    found = list({(message.key, message.id, message.body): message for message in _read(file)}.values())
    for start in range(0, len(found), BATCH):
        retried(backend.queue.send, found[start : start + BATCH])
    return len(found)


def _line(message: Message) -> str:
    headers = {"headers": dict(message.headers)} if message.headers else {}
    return json.dumps({"key": str(message.key), "id": message.id, "body": message.body, **headers})


def _read(file: Path) -> Iterator[Message]:
    for number, line in enumerate(file.read_text(encoding="ascii").splitlines(), 1):
        try:
            fields = json.loads(line)
            headers = check_headers(fields.get("headers", {}))
            yield Message(Key.parse(fields["key"]), fields["id"], fields["body"], headers)
        except (EventError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{file}, line {number}: is no message that was set aside") from error
