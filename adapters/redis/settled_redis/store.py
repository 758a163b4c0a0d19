"""Records and dead letters.

The script that writes a record also checks its version, so no other commit can come in between. For `scan`, each status
has a sorted set of its instances, in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from operator import itemgetter

from settled.durable.ports import DeadLetter, Stored
from settled.errors import ConflictError, LeaseLostError, SettledError
from settled.key import Key
from settled_redis.keyspace import Partition, encoded, key_of_sort_name, sort_name
from settled_redis.script_args import ScriptArgs, decode_dead_letter, decode_record
from settled_redis.script_client import ScriptClient, ScriptResult

MAX_HEADER = 1024
"""How many bytes of a record `scan` reads to get its first line; a record with a longer one is read whole."""


class RedisStore:
    """The store of a `RedisBackend`."""

    def __init__(self, script_client: ScriptClient) -> None:
        self._script_client = script_client

    def load(self, key: Key) -> Stored | None:
        partition = self._script_client.space.of_key(key)
        (data,) = self._script_client.read(partition, [[b"GET", partition.instance(key).record]])
        return None if data is None else decode_record(data)

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        args = ScriptArgs(self._script_client.space.of_key(key))
        args.commit(key, stored, expected)
        args.move_dead_letters(key, add_dead_letters, remove_dead_letters)
        raise_if_refused(key, expected, self._script_client.run(args))

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        partition = self._script_client.space.of_key(key)
        (found,) = self._script_client.read(partition, [[b"LRANGE", partition.instance(key).dead_letters, b"0", b"-1"]])
        return [decode_dead_letter(key, data) for data in found]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        args = ScriptArgs(self._script_client.space.of_key(key))
        args.commit(key, tombstone, expected)
        args.drop_dead_letters(key)
        raise_if_refused(key, expected, self._script_client.run(args))

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        names: dict[bytes, Partition] = {}
        for name, partition in merge(*self._lists(_range(machine, after), limit, status), key=itemgetter(0)):
            if len(names) == limit:
                break
            # A dict, because an instance whose status changes between two of the reads is found in two lists.
            names[name] = partition
        found = self._indexes(names)
        return [(key_of_sort_name(name), found[name]) for name in names if name in found]

    def _lists(
        self, bounds: tuple[bytes, bytes], limit: int, status: str | None
    ) -> Iterator[Iterable[tuple[bytes, Partition]]]:
        """Yield the names within `bounds`, sorted, of each partition and status."""
        for partition in self._script_client.space.partitions:
            statuses = [encoded(status)] if status is not None else self._statuses(partition)
            commands = [
                [b"ZRANGEBYLEX", partition.named(b"status:" + each), *bounds, b"LIMIT", b"0", b"%d" % limit]
                for each in statuses
            ]
            if commands:
                for names in self._script_client.read(partition, commands):
                    yield [(name, partition) for name in names]

    def _statuses(self, partition: Partition) -> Sequence[bytes]:
        (found,) = self._script_client.read(partition, [[b"SMEMBERS", partition.named(b"statuses")]])
        return list(found)

    def _indexes(self, names: Mapping[bytes, Partition]) -> Mapping[bytes, Stored]:
        """Return the records of `names` without their bodies, except those that were deleted meanwhile."""
        found: dict[bytes, Stored] = {}
        read = self._script_client.read
        for partition in dict.fromkeys(names.values()):
            mine = [name for name in names if names[name] is partition]
            keys = [partition.instance(key_of_sort_name(name)).record for name in mine]
            heads = read(partition, [[b"GETRANGE", key, b"0", b"%d" % (MAX_HEADER - 1)] for key in keys])
            for name, key, head in zip(mine, keys, heads, strict=True):
                data = head if b"\n" in head or len(head) < MAX_HEADER else read(partition, [[b"GET", key]])[0]
                stored = decode_record(data) if data else None
                if stored is not None and not stored.is_deleted:
                    found[name] = Stored(stored.version, "", stored.index)
        return found


def raise_if_refused(key: Key, expected: int, result: ScriptResult) -> None:
    """Raise the error of a commit to `key`, if it failed."""
    if result.is_refused:
        raise commit_error(key, expected, result)


def commit_error(key: Key, expected: int, result: ScriptResult) -> SettledError:
    """Return the error of a commit to `key` that failed."""
    if result.has_lost_lease:
        return LeaseLostError(f"{key}: its lease was lost; version {expected + 1} was not written")
    return ConflictError(f"{key}: expected version {expected}, found {result.found_version}")


def _range(machine: str | None, after: Key | None) -> tuple[bytes, bytes]:
    """Return the bounds for ZRANGEBYLEX of the names of `machine` after `after`."""
    begin, end = b"-", b"+"
    if machine is not None:
        # No byte of UTF-8 is as high as 0xFF, so this comes after every instance of the machine.
        first = sort_name(Key(machine, ""))
        begin, end = b"[" + first, b"(" + first + b"\xff"
    if after is not None and (machine is None or sort_name(after) >= begin[1:]):
        begin = b"(" + sort_name(after)
    return begin, end
