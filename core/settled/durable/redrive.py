"""Redrive: an operator has a halted instance take its dead letters and continue.

The dead letters stay in the store. One commit records how many to take, and a `Wake` has a worker load the record; the
turn then takes them one by one, in order, before anything newer. Sent back to the queue, they would come after messages
that were sent later.
"""

from __future__ import annotations

from typing import Any

from settled._fast_frozen import evolve
from settled.durable.commands import Commands, finish, load, load_dead_letters
from settled.durable.messages import Message, Wake, encode, internal_id
from settled.durable.ports import Write
from settled.durable.record_json import record_from_json, record_to_stored
from settled.errors import RecordError
from settled.key import Key
from settled.machine import Machine


def redrive(machine: Machine[Any], key: Key, nonce: str) -> Commands[int]:
    """Redrive the dead letters of `key`, and return how many there are.

    Safe to repeat: a redrive that is in progress continues.

    Raises:
        RecordError: the instance does not exist, or its record cannot be read.
        ConflictError: a worker committed in the meantime; try again.
    """
    loaded = yield from load(key)
    if loaded.stored is None or loaded.stored.is_deleted:
        raise RecordError(f"{key}: there is no such instance")
    record = record_from_json(machine, key, loaded.stored.body)
    found = (yield from load_dead_letters(key)).dead_letters
    if not found and not record.halted:
        return 0
    wake = Message(key, internal_id(f"wake/{nonce}"), encode(Wake()))
    version = loaded.stored.version + 1
    # No lease: the worker that receives the `Wake` resumes the open turn, and must not wait for the former one's lease.
    turn = record.turn and evolve(record.turn, lease_until=0.0)
    postponed = None if record.postponed is None else 0
    record = evolve(record, nonce=nonce, turn=turn, halted=None, failing=None, receives=None, redriving=len(found))
    record = evolve(record, postponed=postponed)
    stored = record_to_stored(machine, record, version, loaded.now)
    yield from finish(Write(key, stored, loaded.stored.version, sends=(wake,)))
    return len(found)
