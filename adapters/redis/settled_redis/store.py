"""Records and dead letters.

The version is checked by the script that writes, so nobody can come in between. To be listed, the instances of each
status stand in a sorted set of their own, in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from operator import itemgetter
from typing import Any

from settled.durable.ports import DeadLetter, Stored
from settled.errors import ConflictError, LeaseLostError, SettledError
from settled.key import Key
from settled_redis.connection import RedisCommand
from settled_redis.keyspace import Partition, encoded, listed_key, listed_name
from settled_redis.script_args import ScriptArgs, read_dead_letter, read_record
from settled_redis.script_client import ScriptClient, ScriptResult

LINE = 1024
"""How much of a record is read for its first line; one that has a longer one is read whole."""


class RedisStore:
    """The store of a `RedisBackend`."""

    def __init__(self, performer: ScriptClient) -> None:
        self._performer = performer

    def load(self, key: Key) -> Stored | None:
        partition = self._performer.space.of_key(key)
        (data,) = self._ask(partition, [[b"GET", partition.instance(key).record]])
        return None if data is None else read_record(data)

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        steps = ScriptArgs(self._performer.space.of_key(key))
        steps.commit(key, stored, expected)
        steps.move_letters(key, bury, unbury)
        expect(key, expected, self._performer.perform(steps))

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        partition = self._performer.space.of_key(key)
        (found,) = self._ask(partition, [[b"LRANGE", partition.instance(key).dead, b"0", b"-1"]])
        return [read_dead_letter(key, data) for data in found]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        steps = ScriptArgs(self._performer.space.of_key(key))
        steps.commit(key, tombstone, expected)
        steps.drop_letters(key)
        expect(key, expected, self._performer.perform(steps))

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        names: dict[bytes, Partition] = {}
        for name, partition in merge(*self._lists(_range(machine, after), limit, status), key=itemgetter(0)):
            if len(names) == limit:
                break
            names[name] = partition
        found = self._indexes(names)
        return [(listed_key(name), found[name]) for name in names if name in found]

    def _lists(
        self, bounds: tuple[bytes, bytes], limit: int, status: str | None
    ) -> Iterator[Iterable[tuple[bytes, Partition]]]:
        """The names within `bounds`, of each partition and status for itself, in their order."""
        for partition in self._performer.space.partitions:
            statuses = [encoded(status)] if status is not None else self._statuses(partition)
            commands = [
                [b"ZRANGEBYLEX", partition.named(b"status:" + each), *bounds, b"LIMIT", b"0", b"%d" % limit]
                for each in statuses
            ]
            if commands:
                for names in self._ask(partition, commands):
                    yield [(name, partition) for name in names]

    def _statuses(self, partition: Partition) -> Sequence[bytes]:
        (found,) = self._ask(partition, [[b"SMEMBERS", partition.named(b"statuses")]])
        return list(found)

    def _indexes(self, names: Mapping[bytes, Partition]) -> Mapping[bytes, Stored]:
        """The records of `names` without their texts; those that were deleted meanwhile are left out."""
        found: dict[bytes, Stored] = {}
        for partition in dict.fromkeys(names.values()):
            mine = [name for name in names if names[name] is partition]
            keys = [partition.instance(listed_key(name)).record for name in mine]
            lines = self._ask(partition, [[b"GETRANGE", key, b"0", b"%d" % (LINE - 1)] for key in keys])
            for name, key, line in zip(mine, keys, lines, strict=True):
                whole = line if b"\n" in line or len(line) < LINE else self._ask(partition, [[b"GET", key]])[0]
                stored = read_record(whole) if whole else None
                if stored is not None and not stored.is_deleted:
                    found[name] = Stored(stored.version, "", stored.index)
        return found

    def _ask(self, partition: Partition, commands: Sequence[RedisCommand]) -> list[Any]:
        return self._performer.servers.ask(partition.slot, commands, changes=False)


def expect(key: Key, expected: int, done: ScriptResult) -> None:
    """Raises what a commit to `key` was refused for, if it was."""
    if done.is_refused:
        raise refusal(key, expected, done)


def refusal(key: Key, expected: int, done: ScriptResult) -> SettledError:
    """What is to be said of a commit to `key` that was refused."""
    if done.has_lost:
        return LeaseLostError(f"{key}: the lease in whose name version {expected + 1} was to be written was lost")
    return ConflictError(f"{key}: expected version {expected}, found {done.found}")


def _range(machine: str | None, after: Key | None) -> tuple[bytes, bytes]:
    """The bounds of the names of `machine` that come behind `after`, as ZRANGEBYLEX reads them."""
    begin, end = b"-", b"+"
    if machine is not None:
        # No byte of an instance's name is as high, so this is behind all of them.
        first = listed_name(Key(machine, ""))
        begin, end = b"[" + first, b"(" + first + b"\xff"
    if after is not None and (machine is None or listed_name(after) >= begin[1:]):
        begin = b"(" + listed_name(after)
    return begin, end
