"""The queue in its tables: a message group for each key, and an order among the groups of a machine that are ready.

A group as a whole is idle, ready, leased or parked, and its row says which (see `schema`). A group that comes back from
a lease goes to the end of the ready ones of its machine, and a receive for several machines takes a group of each in
turn: so a long backlog delays each other key by one batch at most, or by one for each machine. Each lease has a new
token, which its receipts name: a receipt of an older lease changes nothing.

Every look-up uses an index, so the cost of a call does not depend on how many groups or messages there are. Only
forgetting old ids scans those of one group, once in many messages.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from attrs import frozen

from settled.durable.headers import headers_from_text, headers_to_text
from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery, Position
from settled.errors import ConflictError, IdReusedError
from settled.key import Key
from settled_local.sqlite.connection import Connection, text
from settled_local.sqlite.database import Database
from settled_local.sqlite.file_changes import FileChanges
from settled_local.sqlite.timers import pop_due

LONGEST_WAIT = 0.25
"""Seconds after which a waiting `receive` reads the file and the clock again, whatever it was told of changes."""

MAX_WAKEUPS = 100
"""How many timers, and how many groups, one call wakes at most, to bound how long its transaction locks the file."""

# The group becomes the last ready one of its machine. Its rank is one more than the last rank and not a time: a clock
# that is set back must neither reorder the ready groups nor hide them.
_MAKE_READY = (
    "blocked=0, blocked_until_or_rank=1+coalesce("
    "(SELECT other.blocked_until_or_rank FROM message_groups AS other"
    " WHERE other.blocked=0 AND other.machine=message_groups.machine"
    " ORDER BY other.blocked_until_or_rank DESC LIMIT 1), 0)"
)

# Leaps from the first entry of one machine in the index to that of the next, whatever the backlog of each.
_READY_MACHINES = (
    "WITH RECURSIVE ready (machine) AS ("
    " SELECT (SELECT min(machine) FROM message_groups WHERE blocked=0)"
    " UNION ALL"
    " SELECT (SELECT min(machine) FROM message_groups WHERE blocked=0 AND machine>ready.machine)"
    " FROM ready WHERE ready.machine IS NOT NULL"
    ") SELECT machine FROM ready WHERE machine IS NOT NULL"
)


class SQLiteQueue:
    """The queue of a file."""

    def __init__(
        self,
        database: Database,
        epoch: str,
        lease: float,
        remember: int,
        clock: Callable[[], float],
        file_changes: FileChanges,
    ) -> None:
        self._database = database
        self._file_changes = file_changes
        self._epoch = epoch
        self._lease = lease
        self._remember = remember
        self._clock = clock
        self._receives = 0

    def send(self, messages: Sequence[Message]) -> None:
        self._database.write(lambda db: send(db, messages, self._clock()))

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        deliveries = self._receive(limit, time.monotonic(), machines)
        if deliveries or wait <= 0 or limit < 1:
            return deliveries
        end = time.monotonic() + wait
        with self._file_changes.followed():
            return self._receive(limit, end, machines)

    def _receive(self, limit: int, end: float, machines: Collection[str] | None) -> Sequence[Delivery]:
        """Do `receive` until `end`, by the monotonic clock."""
        while limit > 0:
            # Before the file is read: a change between the read and the wait ends the wait at once.
            changes = self._database.changes.count
            with self._database.reading() as db:
                pause = _next_due(db, machines) - self._clock()
            if pause <= 0:
                # Not durable: leases that a crash of the machine undoes are delivered again.
                deliveries = self._database.write(lambda db: self.lease_ready(db, limit, machines), durable=False)
                if deliveries:
                    return deliveries
                continue
            remaining = end - time.monotonic()
            if remaining <= 0:
                break
            self._database.changes.wait(changes, min(remaining, pause, LONGEST_WAIT))
        return ()

    def lease_ready(self, db: Connection, limit: int, machines: Collection[str] | None) -> Sequence[Delivery]:
        """Do `receive` within a transaction, without waiting."""
        if limit < 1:
            return ()
        now = self._clock()
        _wake(db, now)
        wanted = deque(_ready_machines(db) if machines is None else machines)
        # Each receive begins with another machine, so that none is starved by those before it.
        self._receives += 1
        wanted.rotate(-self._receives)
        deliveries: list[Delivery] = []
        while wanted and len(deliveries) < limit:
            machine = wanted.popleft()
            leased = _lease_first(db, machine, self._epoch, limit - len(deliveries), now + self._lease)
            if leased:
                deliveries += leased
                wanted.append(machine)
        return deliveries

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._database.write(lambda db: ack(db, deliveries, self._clock(), self._remember))

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self._database.write(lambda db: _release(db, deliveries, delay, self._clock()), durable=False)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        lost = self._database.write(lambda db: _extend(db, deliveries, lease, self._clock()), durable=False)
        if lost:
            raise ConflictError(f"the lease of {', '.join(lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        with self._database.reading() as db:
            rows = db.run(
                "SELECT machine, count(*), min(sent) FROM message_groups JOIN messages USING (group_id)"
                " WHERE blocked=0 OR (blocked=1 AND blocked_until_or_rank<=?) GROUP BY machine ORDER BY machine",
                self._clock(),
            ).fetchall()
        return [Backlog(text(machine), count, oldest) for machine, count, oldest in rows]

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self._database.write(lambda db: _withdraw(db, deliveries, self._clock(), self._remember))


def send(db: Connection, messages: Iterable[Message], now: float, raises: bool = True) -> None:
    """Do `Queue.send` within a transaction, which the caller rolls back if this raises.

    With ``raises=False``, a message that reuses the id of another one is queued beside that one, and nothing is raised:
    a timer that is due has no caller to tell.
    """
    for message in messages:
        group, number, is_idle = _next_number(db, message.key)
        is_new = db.run(
            # The primary key (group_id, id) deduplicates: a repetition inserts no row.
            "INSERT OR IGNORE INTO seen_ids (group_id, id, number, digest) VALUES (?, ?, ?, ?)",
            group,
            message.id,
            number,
            message.digest,
        ).rowcount
        if not is_new:
            (digest,) = db.run("SELECT digest FROM seen_ids WHERE group_id=? AND id=?", group, message.id).fetchone()
            if digest == message.digest:
                continue
            if raises:
                raise IdReusedError(
                    f"{message.key}: the id {message.id!r} belongs to another message, with another body"
                )
        db.run(
            "INSERT INTO messages (group_id, number, attempts, sent, id, body, headers) VALUES (?, ?, 0, ?, ?, ?, ?)",
            group,
            number,
            now,
            message.id,
            message.body,
            headers_to_text(message.headers),
        )
        # Only an idle group becomes ready: one that is leased or parked would be delivered to a second receiver, and
        # one that is ready already would lose its rank.
        if is_idle:
            db.run(f"UPDATE message_groups SET tail=?, {_MAKE_READY} WHERE group_id=?", number, group)
        else:
            db.run("UPDATE message_groups SET tail=? WHERE group_id=?", number, group)


def _lease_first(db: Connection, machine: str, epoch: str, limit: int, until: float) -> Sequence[Delivery]:
    """Lease up to `limit` messages of the first ready group of `machine`; return none if no group is ready."""
    rows = db.run(
        "SELECT group_id, instance, token, number, id, body, headers, attempts"
        " FROM message_groups JOIN messages USING (group_id)"
        " WHERE group_id=("
        "  SELECT group_id FROM message_groups WHERE blocked=0 AND machine=? ORDER BY blocked_until_or_rank LIMIT 1"
        " )"
        " ORDER BY number LIMIT ?",
        machine,
        limit,
    ).fetchall()
    if not rows:
        return ()
    group, instance, last_token, *_ = rows[0]
    last_leased = rows[-1][3]
    # The new token of each lease fences: receipts of all earlier leases of the group are void from now on.
    key, token = Key(machine, text(instance)), last_token + 1
    db.run(
        # From here on, blocked_until_or_rank is a time: when the lease ends.
        "UPDATE message_groups SET token=?, last_leased=?, blocked=1, blocked_until_or_rank=? WHERE group_id=?",
        token,
        last_leased,
        until,
        group,
    )
    return [
        Delivery(
            Message(key, text(id), text(body), headers_from_text(headers)),
            f"{group}.{token}.{number}",
            attempts + 1,
            until,
            Position(epoch, number),
        )
        for *_, number, id, body, headers, attempts in rows
    ]


def _ready_machines(db: Connection) -> Sequence[str]:
    """Return the ids of the machines that have ready groups."""
    return [text(machine) for (machine,) in db.run(_READY_MACHINES)]


def ack(db: Connection, deliveries: Iterable[Delivery], now: float, remember: int) -> None:
    """Do `Queue.ack` within a transaction."""
    for lease in _leases(deliveries):
        last_leased = lease.last_leased(db, now)
        if not last_leased:
            continue
        for number in lease.numbers:
            db.run("DELETE FROM messages WHERE group_id=? AND number=?", lease.group, number)
        (oldest,) = db.run("SELECT min(number) FROM messages WHERE group_id=?", lease.group).fetchone()
        # Idle if nothing is left, ready if all that was leased is acknowledged; else the group stays leased, so that
        # what follows does not overtake the rest of the batch. The row stays: it keeps the token and the last number.
        if oldest is None:
            db.run(
                "UPDATE message_groups SET last_leased=0, blocked=NULL, blocked_until_or_rank=NULL WHERE group_id=?",
                lease.group,
            )
        elif oldest > last_leased:
            db.run(f"UPDATE message_groups SET last_leased=0, {_MAKE_READY} WHERE group_id=?", lease.group)
        _forget_old_ids(db, lease, oldest, remember)


def _withdraw(db: Connection, deliveries: Sequence[Delivery], now: float, remember: int) -> None:
    held = [each for each in deliveries if holds(db, each, now)]
    ack(db, held, now, remember)
    for lease, message in [(lease, each.message) for each in held for lease in _leases([each])]:
        db.run("DELETE FROM seen_ids WHERE group_id=? AND id=?", lease.group, message.id)


def holds(db: Connection, delivery: Delivery, now: float) -> bool:
    """Return whether the lease of `delivery` still lasts at `now`."""
    (lease,) = _leases([delivery])
    return lease.last_leased(db, now) > 0


def _release(db: Connection, deliveries: Iterable[Delivery], delay: float, now: float) -> None:
    for lease in _leases(deliveries):
        last_leased = lease.last_leased(db, now)
        if not last_leased:
            continue
        _count_attempt(db, lease.group, last_leased)
        if delay > 0:
            # Parked: still blocked=1, so nothing of the group is delivered, but last_leased=0, so it has no lease.
            # Here blocked_until_or_rank is the time at which the pause ends.
            db.run(
                "UPDATE message_groups SET last_leased=0, blocked_until_or_rank=? WHERE group_id=?",
                now + delay,
                lease.group,
            )
        else:
            db.run(f"UPDATE message_groups SET last_leased=0, {_MAKE_READY} WHERE group_id=?", lease.group)


def _extend(db: Connection, deliveries: Iterable[Delivery], seconds: float, now: float) -> Sequence[str]:
    """Let leases end `seconds` from `now`; return the keys whose leases were lost."""
    lost: list[str] = []
    for lease in _leases(deliveries):
        is_leased = lease.last_leased(db, now) > 0
        if is_leased:
            # In a leased group, blocked_until_or_rank is the time at which the lease ends.
            db.run("UPDATE message_groups SET blocked_until_or_rank=? WHERE group_id=?", now + seconds, lease.group)
        # The first of the messages may have been acknowledged, perhaps by this very worker, whose answer was lost.
        (oldest,) = db.run("SELECT min(number) FROM messages WHERE group_id=?", lease.group).fetchone()
        if not is_leased or min(lease.numbers) < oldest:
            lost.append(str(lease.key))
    return lost


@frozen
class _Lease:
    """One lease of one group, and the numbers of those of its messages that a call is about."""

    key: Key
    group: int
    token: int
    numbers: tuple[int, ...]

    def last_leased(self, db: Connection, now: float) -> int:
        """Return the number of the last leased message, or 0 if this lease was lost."""
        row = db.run(
            # The token fences: it differs once the group was leased again. The lease also ends at its deadline, even if
            # no one has taken over, and in a parked group last_leased is 0.
            "SELECT last_leased FROM message_groups"
            " WHERE group_id=? AND token=? AND blocked=1 AND blocked_until_or_rank>?",
            self.group,
            self.token,
            now,
        ).fetchone()
        return row[0] if row else 0


def _leases(deliveries: Iterable[Delivery]) -> Sequence[_Lease]:
    numbers: dict[tuple[Key, int, int], list[int]] = {}
    for delivery in deliveries:
        group, token, number = map(int, delivery.receipt.split("."))
        numbers.setdefault((delivery.message.key, group, token), []).append(number)
    return [_Lease(*lease, tuple(found)) for lease, found in numbers.items()]


def _next_number(db: Connection, key: Key) -> tuple[int, int, bool]:
    """Return the id of the key's group, the number of its next message, and whether the group is idle."""
    row = db.run(
        "SELECT group_id, tail+1, blocked IS NULL FROM message_groups WHERE machine=? AND instance=?",
        key.machine,
        key.instance,
    ).fetchone()
    if row is not None:
        return row[0], row[1], bool(row[2])
    created = db.run(
        "INSERT INTO message_groups (machine, instance, tail, token, last_leased) VALUES (?, ?, 0, 0, 0)",
        key.machine,
        key.instance,
    )
    assert created.lastrowid is not None
    return created.lastrowid, 1, True


def _next_due(db: Connection, machines: Collection[str] | None) -> float:
    """Return when there may be something to receive for `machines`: -infinity if now, infinity if no time is known."""
    wanted = "" if machines is None else f" AND machine IN ({','.join('?' * len(machines))})"
    is_ready, due, until = db.run(
        # One statement, so that all three are read as of one commit.
        f"SELECT EXISTS (SELECT 1 FROM message_groups WHERE blocked=0{wanted}),"
        " (SELECT due FROM timers ORDER BY due LIMIT 1),"
        " (SELECT blocked_until_or_rank FROM message_groups WHERE blocked=1 ORDER BY blocked_until_or_rank LIMIT 1)",
        *(machines or ()),
    ).fetchone()
    if is_ready:
        return float("-inf")
    return min((instant for instant in (due, until) if instant is not None), default=float("inf"))


def _wake(db: Connection, now: float) -> None:
    """Make the groups ready whose lease or pause has ended, and send the messages of the timers that are due."""
    for group, last_leased in db.run(
        # blocked=1: in a ready group, blocked_until_or_rank is a rank.
        "SELECT group_id, last_leased FROM message_groups WHERE blocked=1 AND blocked_until_or_rank<=?"
        " ORDER BY blocked_until_or_rank LIMIT ?",
        now,
        MAX_WAKEUPS,
    ).fetchall():
        _count_attempt(db, group, last_leased)
        db.run(f"UPDATE message_groups SET last_leased=0, {_MAKE_READY} WHERE group_id=?", group)
    send(db, pop_due(db, now, MAX_WAKEUPS), now, raises=False)


def _count_attempt(db: Connection, group: int, last_leased: int) -> None:
    # Attempts are counted when a lease ends and not when it begins: most messages are acknowledged, and cost no UPDATE.
    db.run("UPDATE messages SET attempts=attempts+1 WHERE group_id=? AND number<=?", group, last_leased)


def _forget_old_ids(db: Connection, lease: _Lease, oldest: int | None, remember: int) -> None:
    """Forget all but the `remember` newest ids, once in a quarter as many messages."""
    stride = max(1, remember // 4)
    if not any(number % stride == 0 for number in lease.numbers):
        return
    last = max(lease.numbers) - remember
    # The id of a message that still waits must stay, or a repetition would be queued beside it.
    if oldest is not None:
        last = min(last, oldest - 1)
    db.run("DELETE FROM seen_ids WHERE group_id=? AND number<=?", lease.group, last)
