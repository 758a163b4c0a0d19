"""The names of our keys, and whether a place has them.

Everything of one partition bears the partition's number as its hash tag, so a cluster keeps it in one slot and a
script can work on it. A key belongs to a partition by a sum over its text; how many partitions there are is therefore
written down once, in the key that says what format the others have, and never changes. The same key holds the epoch in
which the places of messages are counted: a lane is never deleted, so its places go on for as long as that key is there.

=========================  ======  =======================================================
behind ``PREFIX{N}:``      is a    of
=========================  ======  =======================================================
``line``                   list    the names of the instances that are ready
``held``                   zset    the leased and the parked, by when that ends
``timers``, ``timer``      zset,   timers by when they are due, and what they send, by id
                           hash
``serial``                 string  how many timers there were
``wakes``                  zset    partitions that somebody must look at; in partition 0
``nothing``                never   what it says; see `settled_redis.cluster`
``statuses``               set     every status that an instance has had
``status:STATUS``          zset    the names of those that have it, in their order
``record:INSTANCE``        string  its version, its index and its text
``lane:INSTANCE``          hash    version, listing, head, token, through, ends
``queue:INSTANCE``         list    its messages
``known:INSTANCE``         zset    its messages by their places: the digest of each, and its id
``dead:INSTANCE``          list    its dead letters
=========================  ======  =======================================================
"""

from __future__ import annotations

import json
import secrets
import zlib
from functools import lru_cache
from typing import Any

from attrs import frozen
from redis.crc import key_slot

from settled.errors import BackendConfigError, RecordError
from settled.key import Key
from settled_redis.topology import Topology

FORMAT = 2
PARTITIONS_OF_A_CLUSTER = 16


def encoded(text: str) -> bytes:
    """`text` as it is stored. JSON may hold half of a surrogate pair, which UTF-8 proper has no bytes for."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """The text that `encoded` made into `data`."""
    return data.decode("utf-8", "surrogatepass")


@frozen
class Partition:
    """The keys of one partition."""

    number: int
    prefix: bytes
    slot: int
    keys: tuple[bytes, ...]
    """Those that every script works on, as ``script.lua`` expects them."""

    @classmethod
    def of(cls, prefix: str, number: int) -> Partition:
        name = encoded(f"{prefix}{{{number}}}:")
        kinds = (b"line", b"held", b"timers", b"timer", b"serial", b"nothing", *((b"wakes",) if number == 0 else ()))
        return cls(number, name, key_slot(name), tuple(name + kind for kind in kinds))

    def named(self, kind: bytes) -> bytes:
        """The key of the partition's own that has this name."""
        return self.prefix + kind

    def instance(self, key: Key) -> InstanceKeys:
        """The keys of the instance `key`, which lives here."""
        return _instance(self.prefix, key)


@frozen
class InstanceKeys:
    """An instance: its name, the same to be sorted by, and its keys."""

    name: bytes
    listed: bytes
    record: bytes
    lane: bytes
    queue: bytes
    known: bytes
    dead: bytes


@lru_cache(4096)
def _instance(prefix: bytes, key: Key) -> InstanceKeys:
    name = encoded(str(key))
    kinds = (b"record:", b"lane:", b"queue:", b"known:", b"dead:")
    return InstanceKeys(name, listed_name(key), *(prefix + kind + name for kind in kinds))


@frozen
class KeySpace:
    """The partitions under a prefix. `epoch` is a text of its own for each key space that was ever made."""

    prefix: str
    partitions: tuple[Partition, ...]
    epoch: str

    @classmethod
    def of(cls, prefix: str, count: int, epoch: str) -> KeySpace:
        return cls(prefix, tuple(Partition.of(prefix, number) for number in range(count)), epoch)

    def of_key(self, key: Key) -> Partition:
        """Where `key` lives."""
        return self._by_text(str(key))

    def of_timer(self, timer_id: str) -> Partition:
        """Where the timer of this id lives.

        The ids that settled gives begin with the key that the timer is for, so that it nearly always lives where the
        key does and a write is one call. Any other id is right too; it only costs a call more.
        """
        parts = timer_id.rsplit("/", 3)
        return self._by_text(parts[0] if len(parts) == 4 else timer_id)

    def _by_text(self, text: str) -> Partition:
        count = len(self.partitions)
        return self.partitions[zlib.crc32(encoded(text)) % count if count > 1 else 0]


def listed_name(key: Key) -> bytes:
    """`key` as bytes that sort as keys do: machine first. A NUL ends it, and one within it is no end."""
    return encoded(key.machine).replace(b"\0", b"\0\xff") + b"\0" + encoded(key.instance)


def listed_key(name: bytes) -> Key:
    """The key that `listed_name` made into `name`."""
    end = name.index(b"\0")
    while name[end + 1 : end + 2] == b"\xff":
        end = name.index(b"\0", end + 1)
    return Key(decoded(name[:end].replace(b"\0\xff", b"\0")), decoded(name[end + 1 :]))


def prepare(servers: Topology, prefix: str, partitions: int | None) -> KeySpace:
    """The key space under `prefix`, which is made if there is none.

    Raises:
        RecordError: the keys there are something else's, or of another version of settled.
        Denied: it has another number of partitions.
    """
    space = find(servers, prefix) or _make(servers, prefix, partitions)
    count = len(space.partitions)
    if partitions not in (None, count):
        raise BackendConfigError(
            f"the keys under {prefix} are divided into {count} partitions: say partitions={count}, or nothing"
        )
    return space


def find(servers: Topology, prefix: str) -> KeySpace | None:
    """The key space under `prefix`, if there is one.

    Raises:
        RecordError: the keys there are something else's, or of another version of settled.
    """
    key = _format_key(prefix)
    (found,) = servers.ask(key_slot(key), [[b"GET", key]], changes=False)
    return None if found is None else _described(found, prefix)


def _make(servers: Topology, prefix: str, partitions: int | None) -> KeySpace:
    count = partitions or (PARTITIONS_OF_A_CLUSTER if servers.is_cluster else 1)
    space = KeySpace.of(prefix, count, secrets.token_hex(8))
    _expect_nothing(servers, space)
    said = {"settled": FORMAT, "partitions": count, "epoch": space.epoch}
    key, text = _format_key(prefix), encoded(json.dumps(said))
    # Another process may do the same just now; both then go by what the first one wrote.
    _, found = servers.ask(key_slot(key), [[b"SET", key, text, b"NX"], [b"GET", key]], changes=True)
    return _described(found, prefix)


def _format_key(prefix: str) -> bytes:
    return encoded(f"{prefix}format")


def _expect_nothing(servers: Topology, space: KeySpace) -> None:
    for partition in space.partitions:
        (count,) = servers.ask(partition.slot, [[b"EXISTS", *partition.keys]], changes=False)
        if count:
            raise RecordError(
                f"there are keys under {space.prefix}, but none that says what they are: name another prefix; "
                "or delete them, if this server was emptied while settled was at work"
            )


def _described(found: bytes, prefix: str) -> KeySpace:
    """Read the text under the key that holds the format."""
    try:
        said: dict[str, Any] = json.loads(found)
        _expect_format(int(said["settled"]), prefix)
        return KeySpace.of(prefix, int(said["partitions"]), str(said["epoch"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the keys under {prefix} are those of something else: name another prefix") from error


def _expect_format(version: int, prefix: str) -> None:
    formats = f"(format {version}, this one reads {FORMAT})"
    if version > FORMAT:
        raise RecordError(f"the keys under {prefix} are of a newer settled {formats}: upgrade")
    if version < FORMAT:
        remedy = "name another prefix, or let the older one finish what is there and delete it"
        raise RecordError(f"the keys under {prefix} are of an older settled {formats}: {remedy}")
