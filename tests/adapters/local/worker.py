"""A process that applies each message to the list in its record, as a host would, and prints what it finished.

``python -m tests.adapters.local.worker PATH LEASE IDLE``. It ends when it got nothing for `IDLE` seconds.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from datetime import timedelta

from settled.durable.ports import Delivery, Index, Stored, Write
from settled.errors import ConflictError, UnavailableError
from settled_local import SQLiteBackend


def apply(backend: SQLiteBackend, delivery: Delivery) -> None:
    """Append the message's id to the list of its key, unless the list has it; acknowledge in the same write."""
    key = delivery.message.key
    found = backend.store.load(key)
    version = found.version if found else 0
    applied: list[str] = json.loads(found.body) if found and found.body else []
    if delivery.message.id in applied:
        backend.queue.ack([delivery])
        return
    body = json.dumps([*applied, delivery.message.id])
    stored = Stored(version + 1, body, Index("active"))
    try:
        backend.finish(Write(key, stored, version, acks=(delivery,)))
    except ConflictError:
        return
    # In one piece, whatever Python buffers: this process may be killed at any moment.
    os.write(sys.stdout.fileno(), f"{key.instance} {delivery.message.id}\n".encode())


def main(path: str, lease: str, idle: str) -> None:
    with closing(
        SQLiteBackend.open(path, lease=timedelta(seconds=float(lease)), timeout=timedelta(seconds=30))
    ) as backend:
        while deliveries := backend.queue.receive(3, wait=float(idle)):
            for delivery in deliveries:
                try:
                    apply(backend, delivery)
                except UnavailableError as error:
                    print(error, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
