"""Redrive: an operator sends a halted instance on its way again.

The dead letters stay where they are. One commit says that they come first, and a wake wakes a worker; the turn takes
them from there one by one, in order, before anything newer. Sent back to the queue they would be overtaken.
"""

from __future__ import annotations

from typing import Any

from settled._fast_frozen import evolve
from settled.durable.commands import Commands, finish, load, load_dead_letters
from settled.durable.messages import Message, Wake, encode, internal_id
from settled.durable.ports import Write
from settled.durable.record import Record
from settled.durable.record_json import record_from_json, record_to_stored
from settled.errors import RecordError
from settled.key import Key
from settled.machine import Machine


def redrive(machine: Machine[Any, Any], key: Key, nonce: str) -> Commands[int]:
    """Let the dead letters of `key` be taken after all. Returns how many there are.

    Safe to repeat: what is under way already is only woken again.

    Raises:
        RecordError: there is no such instance, or its record cannot be read.
        Conflict: a worker committed meanwhile; try again.
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
    stored = record_to_stored(machine, _freed(record, len(found), nonce), version, loaded.now)
    yield from finish(Write(key, stored, loaded.stored.version, sends=(wake,)))
    return len(found)


def _freed(record: Record, count: int, nonce: str) -> Record:
    turn = record.turn and evolve(record.turn, lease=0.0)
    return evolve(record, nonce=nonce, turn=turn, halted=None, failing=None, receives=None, redriving=count)
