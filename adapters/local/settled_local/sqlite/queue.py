"""The queue: a lane for each key, whose messages are in their order, and one line of the lanes that are ready.

A lane is idle, ready, leased or parked as a whole, and its row says which (see `schema`). A lane that is handed out
and comes back joins the end of the line, so that a long backlog passes the others by one batch at a time. Each
hand-out raises the lane's token; a receipt names it, so what an older holder still says changes nothing.

Every look-up goes through an index: what a call costs does not depend on how many lanes or messages there are. Only
forgetting old ids walks over those of one lane, once in many messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from settled.durable.messages import Message
from settled.durable.ports import Delivery, Position
from settled.errors import ConflictError, IdReusedError
from settled.key import Key
from settled_local.sqlite.connection import Connection, text
from settled_local.sqlite.database import Database
from settled_local.sqlite.timers import pop_due

POLL_INTERVAL = 0.02
"""Seconds after which a waiting `receive` looks again for what other processes have sent; reads only memory."""

WAKE_AT_ONCE = 100
"""How many timers, and how many lanes, one call wakes: others are not to wait for a transaction without end."""

_JOIN_THE_LINE = "held=0, rank=1+coalesce((SELECT rank FROM lanes WHERE held=0 ORDER BY rank DESC LIMIT 1), 0)"


class SQLiteQueue:
    """The queue of a file."""

    def __init__(self, file: Database, epoch: str, lease: float, remember: int, clock: Callable[[], float]) -> None:
        self._file = file
        self._epoch = epoch
        self._lease = lease
        self._remember = remember
        self._clock = clock

    def send(self, messages: Sequence[Message]) -> None:
        self._file.write(lambda db: send(db, messages))

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        while limit > 0:
            changes = self._file.changes.count
            with self._file.reading() as db:
                pause = _next_instant(db) - self._clock()
            if pause <= 0:
                deliveries = self._file.write(lambda db: self.hand_out(db, limit), durable=False)
                if deliveries:
                    return deliveries
                continue
            remaining = end - time.monotonic()
            if remaining <= 0:
                break
            self._file.changes.wait(changes, min(remaining, pause, POLL_INTERVAL))
        return ()

    def hand_out(self, db: Connection, limit: int) -> Sequence[Delivery]:
        """`receive` within a transaction, without waiting."""
        return _hand_out(db, self._epoch, limit, self._clock(), self._lease)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._file.write(lambda db: ack(db, deliveries, self._clock(), self._remember))

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self._file.write(lambda db: _release(db, deliveries, delay, self._clock()), durable=False)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        lost = self._file.write(lambda db: _extend(db, deliveries, lease, self._clock()), durable=False)
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")


def send(db: Connection, messages: Iterable[Message], refuses: bool = True) -> None:
    """`Queue.send` within a transaction, which is to be rolled back if this raises.

    Unless it `refuses`, a message that has the id of another one goes into the queue beside that one.
    """
    for message in messages:
        lane, place, idle = _end_of_lane(db, message.key)
        new = db.run(
            "INSERT OR IGNORE INTO known (lane, id, place, digest) VALUES (?, ?, ?, ?)",
            lane,
            message.id,
            place,
            message.digest,
        ).rowcount
        if not new and not _is_another(db, lane, message):
            continue
        if not new and refuses:
            raise IdReusedError(f"{message.key}: the id {message.id!r} is that of another message, with another body")
        db.run(
            "INSERT INTO messages (lane, place, attempts, id, body) VALUES (?, ?, 0, ?, ?)",
            lane,
            place,
            message.id,
            message.body,
        )
        if idle:
            db.run(f"UPDATE lanes SET tail=?, {_JOIN_THE_LINE} WHERE lane=?", place, lane)
        else:
            db.run("UPDATE lanes SET tail=? WHERE lane=?", place, lane)


def _is_another(db: Connection, lane: int, message: Message) -> bool:
    """Whether it is another message that is known by the id of `message`."""
    (digest,) = db.run("SELECT digest FROM known WHERE lane=? AND id=?", lane, message.id).fetchone()
    return bool(digest != message.digest)


def _hand_out(db: Connection, epoch: str, limit: int, now: float, lease: float) -> Sequence[Delivery]:
    if limit < 1:
        return ()
    _wake(db, now)
    until = now + lease
    deliveries: list[Delivery] = []
    while len(deliveries) < limit:
        rows = db.run(
            "SELECT lane, machine, instance, token, place, id, body, attempts FROM lanes JOIN messages USING (lane)"
            " WHERE lane=(SELECT lane FROM lanes WHERE held=0 ORDER BY rank LIMIT 1) ORDER BY place LIMIT ?",
            limit - len(deliveries),
        ).fetchall()
        if not rows:
            break
        lane, machine, instance, old_token, *_ = rows[0]
        through = rows[-1][4]
        key, token = Key(text(machine), text(instance)), old_token + 1
        for *_, place, id, body, attempts in rows:
            receipt = f"{lane}.{token}.{place}"
            message, position = Message(key, text(id), text(body)), Position(epoch, place)
            deliveries.append(Delivery(message, receipt, attempts + 1, until, position))
        db.run("UPDATE lanes SET token=?, through=?, held=1, rank=? WHERE lane=?", token, through, until, lane)
    return deliveries


def ack(db: Connection, deliveries: Iterable[Delivery], now: float, remember: int) -> None:
    """`Queue.ack` within a transaction."""
    for lease in _leases(deliveries):
        through = lease.holds_through(db, now)
        if not through:
            continue
        for place in lease.places:
            db.run("DELETE FROM messages WHERE lane=? AND place=?", lease.lane, place)
        (oldest,) = db.run("SELECT min(place) FROM messages WHERE lane=?", lease.lane).fetchone()
        if oldest is None:
            db.run("UPDATE lanes SET through=0, held=NULL, rank=NULL WHERE lane=?", lease.lane)
        elif oldest > through:
            db.run(f"UPDATE lanes SET through=0, {_JOIN_THE_LINE} WHERE lane=?", lease.lane)
        _forget_old_ids(db, lease, oldest, remember)


def holds(db: Connection, delivery: Delivery, now: float) -> bool:
    """Whether the hand-out of `delivery` still has its key."""
    (lease,) = _leases([delivery])
    return lease.holds_through(db, now) > 0


def _release(db: Connection, deliveries: Iterable[Delivery], delay: float, now: float) -> None:
    for lease in _leases(deliveries):
        through = lease.holds_through(db, now)
        if not through:
            continue
        _end_lease(db, lease.lane, through)
        if delay > 0:
            db.run("UPDATE lanes SET through=0, rank=? WHERE lane=?", now + delay, lease.lane)
        else:
            db.run(f"UPDATE lanes SET through=0, {_JOIN_THE_LINE} WHERE lane=?", lease.lane)


def _extend(db: Connection, deliveries: Iterable[Delivery], lease: float, now: float) -> Sequence[str]:
    """The keys whose leases were lost; all others end `lease` seconds from now."""
    lost: list[str] = []
    for held in _leases(deliveries):
        if held.holds_through(db, now):
            db.run("UPDATE lanes SET rank=? WHERE lane=?", now + lease, held.lane)
        else:
            lost.append(str(held.key))
    return lost


@frozen
class _Lease:
    """What the receipts of one hand-out of one lane say."""

    key: Key
    lane: int
    token: int
    places: tuple[int, ...]

    def holds_through(self, db: Connection, now: float) -> int:
        """The last place that this lease still covers; 0 if it was lost: at its deadline, taken over or not."""
        row = db.run(
            "SELECT through FROM lanes WHERE lane=? AND token=? AND held=1 AND rank>?",
            self.lane,
            self.token,
            now,
        ).fetchone()
        return row[0] if row else 0


def _leases(deliveries: Iterable[Delivery]) -> Sequence[_Lease]:
    places: dict[tuple[Key, int, int], list[int]] = {}
    for delivery in deliveries:
        lane, token, place = map(int, delivery.receipt.split("."))
        places.setdefault((delivery.message.key, lane, token), []).append(place)
    return [_Lease(*hand_out, tuple(found)) for hand_out, found in places.items()]


def _end_of_lane(db: Connection, key: Key) -> tuple[int, int, bool]:
    """The number of the key's lane, the place behind its last message, and whether it is idle."""
    row = db.run(
        "SELECT lane, tail+1, held IS NULL FROM lanes WHERE machine=? AND instance=?", key.machine, key.instance
    ).fetchone()
    if row is not None:
        return row[0], row[1], bool(row[2])
    created = db.run(
        "INSERT INTO lanes (machine, instance, tail, token, through) VALUES (?, ?, 0, 0, 0)",
        key.machine,
        key.instance,
    )
    assert created.lastrowid is not None
    return created.lastrowid, 1, True


def _next_instant(db: Connection) -> float:
    """When there is, or may be, something to hand out; infinity if nothing is known of."""
    ready, due, until = db.run(
        "SELECT EXISTS (SELECT 1 FROM lanes WHERE held=0),"
        " (SELECT due FROM timers ORDER BY due LIMIT 1),"
        " (SELECT rank FROM lanes WHERE held=1 ORDER BY rank LIMIT 1)",
    ).fetchone()
    if ready:
        return float("-inf")
    return min((instant for instant in (due, until) if instant is not None), default=float("inf"))


def _wake(db: Connection, now: float) -> None:
    """Let the lanes join the line whose lease or pause has ended, and the messages whose timers are due."""
    for lane, through in db.run(
        "SELECT lane, through FROM lanes WHERE held=1 AND rank<=? ORDER BY rank LIMIT ?", now, WAKE_AT_ONCE
    ).fetchall():
        _end_lease(db, lane, through)
        db.run(f"UPDATE lanes SET through=0, {_JOIN_THE_LINE} WHERE lane=?", lane)
    send(db, pop_due(db, now, WAKE_AT_ONCE), refuses=False)


def _end_lease(db: Connection, lane: int, through: int) -> None:
    """This hand-out has been one attempt. It is counted at its end: most messages are acknowledged, and never are."""
    db.run("UPDATE messages SET attempts=attempts+1 WHERE lane=? AND place<=?", lane, through)


def _forget_old_ids(db: Connection, lease: _Lease, oldest: int | None, remember: int) -> None:
    """Forget ids beyond the `remember` newest ones, but none that still waits; once in a quarter as many messages."""
    stride = max(1, remember // 4)
    if not any(place % stride == 0 for place in lease.places):
        return
    last = max(lease.places) - remember
    if oldest is not None:
        last = min(last, oldest - 1)
    db.run("DELETE FROM known WHERE lane=? AND place<=?", lease.lane, last)
