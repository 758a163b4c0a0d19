"""Records and tombstones as text, and back.

A record of another machine is never changed. A snapshot that this machine cannot read is kept unchanged, so a deploy
that removed a state loses nothing.

A tombstone keeps the high-water mark and the dedup window of a deleted instance, so that the next instance of the same
name takes none of its messages.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Any

from settled.chart.snapshot import Snapshot
from settled.data import Json, write
from settled.durable.ports import DELETED, Index, Stored
from settled.durable.record import Record, UnreadableSnapshot
from settled.durable.record_parts import (
    high_water_mark_from_json,
    parts_from_json,
    parts_to_json,
    surviving_parts_to_json,
    turn_message_from_json,
    window_from_json,
)
from settled.durable.record_text import damage_as_record_error, parse_record, write_record
from settled.durable.window import WINDOW, Outcome, Window
from settled.errors import LogicError, RecordError, VersionUnknownError
from settled.key import Key
from settled.machine import Machine


def index_of(record: Record, now: float) -> Index:
    """Return the fields by which a store lists the instance."""
    if isinstance(record.snapshot, Snapshot):
        status, tags = str(record.snapshot.status), tuple(sorted(record.snapshot.configuration.tags))
        return Index("halted" if record.halted else status, tags, now)
    return Index("halted" if record.halted else "absent", updated=now)


def record_to_stored(machine: Machine[Any], record: Record, version: int, now: float) -> Stored:
    """Return `record` as the stored state of `version`.

    Raises:
        LogicError: the context is not JSON; the error message says where.
    """
    index, snapshot = index_of(record, now), _snapshot_to_text(machine, record.snapshot)
    # A redrive has none either, or the record of an instance that was halted for its size could not be redriven.
    has_room = record.failing is None and record.watch is None and record.halted is None and record.redriving is None
    text = write_record(write(_to_json(machine, record)), snapshot, record.window.encoded_ids, has_room=has_room)
    return Stored(version, text, index)


def record_from_json(
    machine: Machine[Any], key: Key, body: str, window: int = WINDOW, accepts: Container[str] = ()
) -> Record:
    """Return the record that `record_to_stored` wrote.

    A snapshot that this machine cannot read is kept as an `UnreadableSnapshot`.

    Args:
        machine: the machine of the instance.
        key: the instance.
        body: the stored text.
        window: the size of the dedup window.
        accepts: versions that the machine does not know but whose snapshots are used as they are.

    Raises:
        RecordError: the text is damaged, or has another format, or belongs to another machine.
    """
    data, lines = parse_record(key, body)
    if data.get("machine") != machine.id:
        raise RecordError(f"{key}: the record is of machine {data.get('machine')!r}, not {machine.id!r}")
    with damage_as_record_error(key):
        return _from_json(machine, key, data, lines, window, accepts)


def record_to_tombstone(key: Key, stored: Stored, now: float) -> Stored:
    """Return the tombstone for the instance `stored`."""
    remains = Record()
    with suppress(RecordError):  # an operator must be able to delete an instance whose record cannot be read
        parsed, lines = parse_record(key, stored.body)
        with damage_as_record_error(key):
            window = _with_open_turn(key, parsed, window_from_json(parsed, lines, WINDOW)).without_postponed()
            remains = Record(high_water_mark=high_water_mark_from_json(parsed), window=window)
    parts = write({"machine": key.machine, **surviving_parts_to_json(remains)})
    text = write_record(parts, None, remains.window.encoded_ids)
    return Stored(stored.version + 1, text, Index(DELETED, updated=now))


def record_with_redrive(
    key: Key, stored: Stored | None, version: int, now: float, nonce: str, redriving: int | None
) -> Stored:
    """Return `version` of the record `stored`, without its machine: as it is, but with a redrive.

    A worker may resume its open turn at once. Without an instance, this is a record that waits for its start.

    Args:
        key: the instance.
        stored: its stored state, if it has one.
        version: the new version.
        now: the time of the commit, in seconds since the epoch.
        nonce: the nonce of the commit.
        redriving: how many dead letters the redrive takes; None to begin none.

    Raises:
        RecordError: the text is damaged, or has another format.
    """
    data, lines = parse_record(key, stored.body) if stored else (_BLANK, "")
    with damage_as_record_error(key):
        parts: dict[str, Any] = {"machine": key.machine, **_BLANK, **data, "nonce": nonce}
        snapshot = parts.pop("snapshot", None)
        for name in ("settled", "crc32", "room", "window", "redriving"):
            parts.pop(name, None)
        if redriving is not None:
            parts["redriving"] = redriving
            if "postponed" in parts:
                parts["postponed"] = 0  # they are looked through anew: there are more dead letters now
            if turn := parts.get("turn"):
                parts["turn"] = {**turn, "lease_until": 0.0}
        text = write_record(write(parts), write(snapshot), lines)
    index = Index("absent") if stored is None or stored.is_deleted else stored.index
    return Stored(version, text, index._replace(updated=now))


_BLANK: Mapping[str, Json] = {"fingerprint": "", "start_nonce": "", "ordinal": 0}
"""The parts that each record has, in one that waits for its start."""


def _with_open_turn(key: Key, data: Mapping[str, Any], window: Window) -> Window:
    # The message of an open turn enters the window only when the turn closes. It was taken all the same: without it
    # here, its redelivery would be a new message to the next instance.
    message = turn_message_from_json(key, data)
    if message is None or window.outcome_of_message(message) is not None:
        return window
    return window.add(message, Outcome.TAKEN)


def record_from_tombstone(key: Key, body: str, window: int = WINDOW) -> Record:
    """Return a record that has only what outlives the instance: the high-water mark and the dedup window.

    `body` may be a tombstone, or the record of a live instance.

    Raises:
        RecordError: the text is damaged, or has another format.
    """
    data, lines = parse_record(key, body)
    with damage_as_record_error(key):
        return Record(high_water_mark=high_water_mark_from_json(data), window=window_from_json(data, lines, window))


def _to_json(machine: Machine[Any], record: Record) -> dict[str, Json]:
    # An unreadable snapshot was not migrated either, so it keeps the fingerprint and version of its writer. Under this
    # machine's version it would never be migrated.
    author = record if isinstance(record.snapshot, UnreadableSnapshot) else machine
    data: dict[str, Json] = {
        "machine": machine.id,
        "fingerprint": author.fingerprint,
        "nonce": record.nonce,
        "start_nonce": record.start_nonce,
        "ordinal": record.ordinal,
    }
    if author.version is not None:
        data["version"] = author.version
    is_by_another = record.armed is not None or record.fingerprint != author.fingerprint
    if record.snapshot is not None and is_by_another and record.armed_for[0] != author.fingerprint:
        fingerprint, version = record.armed_for
        data["armed"] = {"fingerprint": fingerprint, "version": version}
    return data | parts_to_json(record) | surviving_parts_to_json(record)


def _from_json(
    machine: Machine[Any], key: Key, data: Mapping[str, Any], lines: str, window: int, accepts: Container[str]
) -> Record:
    snapshot, version, armed = data.get("snapshot"), data.get("version"), data.get("armed")
    return Record(
        nonce=data["nonce"],
        version=version,
        fingerprint=data["fingerprint"],
        start_nonce=data["start_nonce"],
        ordinal=data["ordinal"],
        snapshot=None if snapshot is None else _snapshot_from_json(machine, snapshot, version, accepts),
        high_water_mark=high_water_mark_from_json(data),
        armed=None if armed is None else (armed["fingerprint"], armed["version"]),
        window=window_from_json(data, lines, window),
        **parts_from_json(key, data),
    )


def _snapshot_to_text(machine: Machine[Any], snapshot: Snapshot[Any] | UnreadableSnapshot | None) -> str:
    match snapshot:
        case None:
            return "null"
        case UnreadableSnapshot(raw):
            return write(raw)
        case _:
            return machine.snapshot_text.write(snapshot)


def _snapshot_from_json(
    machine: Machine[Any], raw: Any, version: str | None, accepts: Container[str]
) -> Snapshot[Any] | UnreadableSnapshot:
    if not machine.knows_version(version) and (version is None or version not in accepts):
        known = f"is version {machine.version!r}" if machine.version else "declares no version"
        return UnreadableSnapshot(
            raw,
            VersionUnknownError(
                f"written by version {version!r} of {machine.id!r}, which here {known} and has no migration from it: "
                "leave it to a host that knows it, register a migration, or let the policy accept that version"
            ),
        )
    try:
        return machine.from_json(machine.migrate(raw, version))
    except (RecordError, LogicError) as error:
        return UnreadableSnapshot(raw, error)
