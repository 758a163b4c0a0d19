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
from settled.durable.ports import Traits, Write
from settled.durable.record import EMPTY_RECORD
from settled.durable.record_json import record_from_json, record_to_stored
from settled.errors import RecordError
from settled.key import Key
from settled.machine import Machine


def redrive(machine: Machine[Any], key: Key, nonce: str, traits: Traits | None = None) -> Commands[int]:
    """Redrive the dead letters of `key`, and return how many there are.

    Safe to repeat: a redrive that is in progress continues. Dead letters whose record has vanished are redriven, too.

    Args:
        machine: the machine of the instance.
        key: the instance.
        nonce: unique text.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: the instance does not exist and has no dead letters, or its record cannot be read.
        ConflictError: a worker committed in the meantime; try again.
    """
    loaded = yield from load(key)
    stored = None if loaded.stored is None or loaded.stored.is_deleted else loaded.stored
    found = (yield from load_dead_letters(key)).dead_letters
    if stored is not None:
        expected, version = stored.version, stored.version + 1
        record = record_from_json(machine, key, stored.body)
    elif found and loaded.stored is None:  # they have outlived a record that was removed by hand
        expected, version, record = 0, (traits or Traits()).first_version(loaded.now), EMPTY_RECORD
    else:
        raise RecordError(f"{key}: there is no such instance")
    if not found and not record.halted:
        return 0
    wake = Message(key, internal_id(f"wake/{nonce}"), encode(Wake()))
    # No lease: the worker that receives the `Wake` resumes the open turn, and must not wait for the former one's lease.
    turn = record.turn and evolve(record.turn, lease_until=0.0)
    postponed = None if record.postponed is None else 0
    record = evolve(record, nonce=nonce, turn=turn, halted=None, failing=None, receives=None, redriving=len(found))
    record = evolve(record, postponed=postponed)
    written = record_to_stored(machine, record, version, loaded.now)
    yield from finish(Write(key, written, expected, sends=(wake,)))
    return len(found)
