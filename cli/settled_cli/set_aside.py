"""Messages in a file: set aside from the queue, and brought back.

A message leaves the queue only after it is on the disk. A crash in between leaves it in both places; it is brought back
once. The file has one JSON object a line, in the order of the queue.

Its law: only messages that no worker has begun are set aside. A record relies on the queue to deliver again what it has
begun: the message of an open turn, and one whose effects are not all performed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from settled import EventError, Key, RecordError
from settled.data import parse
from settled.durable import Backend, Capability, Delivery, Message, RecordView, check_headers
from settled.durable.encoded import ENCODED_PREFIX
from settled_cli.errors import CommandError
from settled_runtime.backend_commands import retried
from settled_runtime.coded_backend import without_codec

BATCH = 100
"""How many messages are moved at once."""


def set_aside(backend: Backend, machine: str, file: Path) -> int:
    """Append the waiting messages of `machine` to `file`, and remove them from the queue; return how many there were.

    Those of an instance that has begun one of them stay in the queue, and so do those that are leased or paused.

    Raises:
        CommandError: the backend cannot select the messages of a machine, or cannot take them out; or the file cannot
            be written.
    """
    for capability in (Capability.SELECTIVE_RECEIVE, Capability.BACKLOG):
        if capability not in backend.capabilities:
            raise CommandError(f"this backend cannot set messages aside: it does not declare {capability}")
    count = 0
    with _appended(file) as out:
        while deliveries := retried(backend.queue.receive, BATCH, machines={machine}):
            begun = _begun(backend, deliveries)
            moved = [each for each in deliveries if each.message.key not in begun]
            out.write("".join(f"{_line(each.message)}\n" for each in moved).encode("ascii"))
            out.flush()
            # Before they leave the queue: from then on they are nowhere else.
            os.fsync(out.fileno())
            retried(backend.queue.withdraw, moved)
            # Until this is over, or they would be received again and again.
            backend.queue.release(
                [each for each in deliveries if each.message.key in begun], backend.lease.total_seconds()
            )
            count += len(moved)
    return count


def bring_back(backend: Backend, file: Path) -> int:
    """Send the messages of `file` in their order, before those of the same machines that wait now.

    Return how many there were. Those that wait are set aside first, at the end of `file`: so nothing overtakes them,
    but for what `set_aside` leaves in the queue. At the end the file is renamed, so that it is not sent a second time.
    After a crash, call it again.

    Raises:
        CommandError: as `set_aside`; a line of the file is not one of its lines; or two of them have one id and not the
            same body, so the queue could not take both.
    """
    for machine in sorted({message.key.machine for message in _read(file)}):
        set_aside(backend, machine, file)
    found: dict[tuple[Key, str], Message] = {}
    for number, message in enumerate(_read(file), 1):
        # Once each: an earlier attempt may have sent some of them, which were then set aside once more.
        first = found.setdefault((message.key, message.id), message)
        if first.body != message.body:
            raise CommandError(
                f"{file}, line {number}: the id {message.id!r} of {message.key} has another body in an earlier line. "
                "Remove one of the two, or change its id, and bring them back then: nothing was sent"
            )
    messages = list(found.values())
    # What was set aside encoded, for want of its key, is sent as it is: encoded once more, nobody could read it.
    for is_encoded, each in groupby(messages, lambda message: message.body.startswith(ENCODED_PREFIX)):
        queue, batch = (without_codec(backend) if is_encoded else backend).queue, list(each)
        for start in range(0, len(batch), BATCH):
            retried(queue.send, batch[start : start + BATCH])
    file.rename(_free_name(file))
    return len(messages)


def _begun(backend: Backend, deliveries: Sequence[Delivery]) -> set[Key]:
    """Return the keys of `deliveries` whose instances have begun one of their messages, or cannot be read."""
    begun: set[Key] = set()
    for key in {each.message.key for each in deliveries}:
        try:
            stored = retried(backend.store.load, key)
            if stored is None or stored.is_deleted:
                continue
            view = RecordView.of(key, stored.body)
        except RecordError:
            begun.add(key)
        else:
            if view.turn is not None or view.unfinished:
                begun.add(key)
    return begun


def _appended(file: Path) -> BinaryIO:
    """Open `file` to append whole lines; what a crash has left of a last line is cut off."""
    try:
        file.touch(0o600)  # it holds what others sent; a file that exists keeps its mode
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or a new file could be lost with what is in it
        finally:
            os.close(folder)
        out = file.open("rb+")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    # Its message did not leave the queue: that happens only when its line is on the disk.
    out.seek(file.read_bytes().rfind(b"\n") + 1)
    out.truncate()
    return out


def _free_name(file: Path) -> Path:
    """Return a name for `file` once it was sent, that no other file has."""
    sent = file.with_name(f"{file.name}.sent")
    number = 1
    while sent.exists():
        number += 1
        sent = file.with_name(f"{file.name}.sent{number}")
    return sent


def _line(message: Message) -> str:
    headers = {"headers": dict(message.headers)} if message.headers else {}
    return json.dumps({"key": str(message.key), "id": message.id, "body": message.body, **headers})


def _read(file: Path) -> Iterator[Message]:
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            fields = parse(line.decode())
            headers = check_headers(fields.get("headers", {}))
            id, body = fields["id"], fields["body"]
            if not isinstance(id, str) or not isinstance(body, str):
                raise TypeError("the id and the body are texts")
            yield Message(Key.parse(fields["key"]), id, body, headers)
        except (EventError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CommandError(f"{file}, line {number}: is no message that was set aside") from error
