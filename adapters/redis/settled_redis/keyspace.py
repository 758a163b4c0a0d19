"""The Redis keys under a prefix, and the check that a server has them.

All keys of one partition have the partition's number as their hash tag, so a cluster keeps them in one slot and a
script can work on them. A checksum of an instance's key selects its partition. The number of partitions therefore never
changes; it is stored once, under ``PREFIX`` + ``format``, with the format of the other keys and the epoch in which
messages are numbered. Message groups are never deleted, so their numbers go on for as long as that key exists.

Each partition has the epoch too, and each call compares it with the one that was found when the key space was opened.
So a server that was emptied, or came back without its data, is noticed, be it the only one or one of a cluster.

==========================  ======  ===========================================================
after ``PREFIX{N}:``        type    content
==========================  ======  ===========================================================
``ready_machines``          zset    the machines that have ready message groups, and perhaps others,
                                    by the time since when none of their messages was delivered
``ready:MACHINE``           list    the names of the instances whose message groups are ready
``blocked``                 zset    those whose groups are leased or parked, by when that ends
``timers``                  zset    timers, by when they are due
``timer_payloads``          hash    the messages that they send, by timer id
``timer_serial``            string  how many timers there were
``wakeups``                 zset    partitions that have work for a waiting receiver; in partition 0
``wakeups:MACHINE``         zset    the same, for one that waits for messages of this machine
``epoch``                   string  the epoch of the key space
``absent``                  never   it never exists; see `settled_redis.cluster`
``statuses``                set     every status that an instance has had
``status:STATUS``           zset    the instances that have it, in the order of their keys
``record:INSTANCE``         string  version, index and body of the record
``group:INSTANCE``          hash    version, listing, head, token, last_leased, lease_end
``queue:INSTANCE``          list    the messages
``seen_ids:INSTANCE``       zset    the digest and id of each message, by its number
``dead_letters:INSTANCE``   list    the dead letters
==========================  ======  ===========================================================

A change to these names or to what they hold needs another `FORMAT`. A key space of an older format is migrated when it
is opened, as far back as to `OLDEST_FORMAT`.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen
from redis.crc import key_slot

from settled.errors import BackendConfigError, RecordError
from settled.key import Key
from settled_redis.topology import Topology

FORMAT = 5
OLDEST_FORMAT = 3
CLUSTER_PARTITIONS = 16
_FIRST_WITH_EPOCHS = 5


def encoded(text: str) -> bytes:
    """Return the bytes that store `text`. JSON may have a lone surrogate, which strict UTF-8 cannot encode."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """Return the text of which `encoded` made `data`."""
    return data.decode("utf-8", "surrogatepass")


@frozen
class Partition:
    """The keys of one partition; `keys` are those that every call of ``script.lua`` gets, in its order."""

    number: int
    prefix: bytes
    slot: int
    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, prefix: str, number: int) -> Partition:
        name = encoded(f"{prefix}{{{number}}}:")
        kinds = [b"ready_machines", b"blocked", b"timers", b"timer_payloads", b"timer_serial", b"epoch", b"absent"]
        # One place to wait at for all partitions: a blocking command can only wait for keys of one slot.
        if number == 0:
            kinds.append(b"wakeups")
        return cls(number, name, key_slot(name), tuple(name + kind for kind in kinds))

    @property
    def epoch(self) -> bytes:
        """The key of the epoch."""
        return self.named(b"epoch")

    def named(self, kind: bytes) -> bytes:
        """Return the key of this kind in this partition."""
        return self.prefix + kind

    def wakeups(self, machines: Collection[str] | None) -> Sequence[bytes]:
        """Return the keys of the wakeups that concern a receiver for `machines`, or for all; in partition 0."""
        wakeups = self.named(b"wakeups")
        return [wakeups] if machines is None else [b"%b:%b" % (wakeups, machine_name(each)) for each in machines]

    def instance(self, key: Key) -> InstanceKeys:
        """Return the keys of the instance `key`, which is in this partition."""
        return _instance(self.prefix, key)


@frozen
class InstanceKeys:
    """The Redis keys of an instance, its `name` at their ends, and its `sort_name` in the lists by status."""

    name: bytes
    sort_name: bytes
    record: bytes
    group: bytes
    queue: bytes
    seen_ids: bytes
    dead_letters: bytes


@lru_cache(4096)
def _instance(prefix: bytes, key: Key) -> InstanceKeys:
    name = encoded(str(key))
    kinds = (b"record:", b"group:", b"queue:", b"seen_ids:", b"dead_letters:")
    return InstanceKeys(name, sort_name(key), *(prefix + kind + name for kind in kinds))


@frozen
class KeySpace:
    """The partitions under a prefix, in a `format`.

    `epoch` is a random text, new for each key space that is created or was restored.
    """

    prefix: str
    partitions: tuple[Partition, ...]
    epoch: str
    format: int

    @classmethod
    def of(cls, prefix: str, count: int, epoch: str, format: int = FORMAT) -> KeySpace:
        return cls(prefix, tuple(Partition.of(prefix, number) for number in range(count)), epoch, format)

    def of_key(self, key: Key) -> Partition:
        """Return the partition of the instance `key`."""
        return self._by_text(str(key))

    def of_timer(self, timer_id: str) -> Partition:
        """Return the partition of the timer of this id, which is not always that of its instance.

        `Timers.cancel` has only the id, so the id alone must select the partition. The ids that settled uses begin with
        the instance's key, so that its timers are nearly always in its own partition, and a write is one call. Any
        other id works too; it costs one more call.
        """
        parts = timer_id.rsplit("/", 3)
        return self._by_text(parts[0] if len(parts) == 4 else timer_id)

    def _by_text(self, text: str) -> Partition:
        count = len(self.partitions)
        return self.partitions[zlib.crc32(encoded(text)) % count if count > 1 else 0]


@lru_cache(1024)
def machine_name(machine: str) -> bytes:
    """Return the name of a machine: that with which the names of its instances begin, without the slash."""
    return encoded(str(Key(machine, ""))).removesuffix(b"/")


def sort_name(key: Key) -> bytes:
    """Return `key` as bytes that sort as keys do: by machine, then instance.

    A NUL byte ends the machine; a NUL within it is escaped as NUL 0xFF.
    """
    return encoded(key.machine).replace(b"\0", b"\0\xff") + b"\0" + encoded(key.instance)


def key_of_sort_name(name: bytes) -> Key:
    """Return the key of which `sort_name` made `name`."""
    end = name.index(b"\0")
    while name[end + 1 : end + 2] == b"\xff":
        end = name.index(b"\0", end + 1)
    return Key(decoded(name[:end].replace(b"\0\xff", b"\0")), decoded(name[end + 1 :]))


def prepare(servers: Topology, prefix: str, partitions: int | None) -> KeySpace:
    """Return the key space under `prefix`; create it if there is none, and migrate it if it has an older format.

    Raises:
        RecordError: the keys belong to another application, to a newer settled, or to one too old to be migrated; or
            some of them were lost.
        BackendConfigError: it has another number of partitions.
    """
    found = read_format(servers, prefix)
    space = _create(servers, prefix, partitions) if found is None else _migrated(servers, prefix, found)
    require_one_epoch(servers, space)
    count = len(space.partitions)
    if partitions not in (None, count):
        raise BackendConfigError(
            f"the keys under {prefix} are divided into {count} partitions: use partitions={count}, or omit the option"
        )
    return space


def find(servers: Topology, prefix: str) -> KeySpace | None:
    """Return the key space under `prefix`, or None if there is none.

    Raises:
        RecordError: the keys belong to another application, to a newer settled, or to one too old to be migrated.
    """
    found = read_format(servers, prefix)
    return None if found is None else _parse_format(found, prefix)


def read_format(servers: Topology, prefix: str) -> bytes | None:
    """Return the text of the format key of `prefix`, or None if there is none."""
    key = _format_key(prefix)
    found: bytes | None
    (found,) = servers.ask(key_slot(key), [[b"GET", key]], changes=False)
    return found


# Clients of the older format must not be running: they know nothing of what is migrated. Several newer ones may migrate
# at the same time.


def _migrated(servers: Topology, prefix: str, found: bytes) -> KeySpace:
    space = _parse_format(found, prefix)
    if space.format == FORMAT:
        return space
    # Before the number is raised: after a crash in between, the next client does it again, from where it was.
    for partition in space.partitions:
        ready, machines = partition.named(b"ready"), partition.named(b"ready_machines")
        divide = [b"EVAL", _DIVIDE_READY_GROUPS, b"2", ready, machines]
        servers.ask(partition.slot, [divide, [b"SET", partition.epoch, encoded(space.epoch), b"NX"]], changes=True)
    key, text = _format_key(prefix), encoded(json.dumps({**json.loads(found), "settled": FORMAT}))
    # Only if it is unchanged: another client may have migrated it meanwhile, perhaps to a newer format.
    replace = [b"EVAL", _REPLACE_IF_UNCHANGED, b"1", key, found, text]
    _, found = servers.ask(key_slot(key), [replace, [b"GET", key]], changes=True)
    return _parse_format(found, prefix)


# Format 4 has a list of ready groups for each machine, in place of one for all. Format 5 has the epoch in each
# partition.
_DIVIDE_READY_GROUPS = b"""
local now = redis.call('TIME')
local key = redis.call('LPOP', KEYS[1])
while key do
  local machine = string.match(key, '^[^/]*')
  redis.call('RPUSH', KEYS[1] .. ':' .. machine, key)
  redis.call('ZADD', KEYS[2], now[1] * 1000000 + now[2], machine)
  key = redis.call('LPOP', KEYS[1])
end
"""

_REPLACE_IF_UNCHANGED = b"if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end"


def _create(servers: Topology, prefix: str, partitions: int | None) -> KeySpace:
    count = partitions or (CLUSTER_PARTITIONS if servers.is_cluster else 1)
    space = KeySpace.of(prefix, count, secrets.token_hex(8))
    _require_empty(servers, space)
    # NX, then GET: if another process creates the key space at the same time, both use the epoch and the partitions of
    # the first. With two epochs, positions of one queue could not be compared. The format comes last: once it is there,
    # a partition without an epoch has lost its keys.
    epoch = _epoch_set_in(servers, space.partitions[0], space.epoch)
    for partition in space.partitions[1:]:
        _epoch_set_in(servers, partition, epoch)
    description = {"settled": FORMAT, "partitions": count, "epoch": epoch}
    key, text = _format_key(prefix), encoded(json.dumps(description))
    _, found = servers.ask(key_slot(key), [[b"SET", key, text, b"NX"], [b"GET", key]], changes=True)
    return _parse_format(found, prefix)


def _epoch_set_in(servers: Topology, partition: Partition, epoch: str) -> str:
    """Return the epoch of `partition`: `epoch`, unless it has one."""
    commands = [[b"SET", partition.epoch, encoded(epoch), b"NX"], [b"GET", partition.epoch]]
    _, found = servers.ask(partition.slot, commands, changes=True)
    return decoded(found)


def renew_epoch(servers: Topology, space: KeySpace) -> None:
    """Give the key space a new epoch. Whoever has it open is refused from then on."""
    epoch, key = secrets.token_hex(8), _format_key(space.prefix)
    for partition in space.partitions:
        servers.ask(partition.slot, [[b"SET", partition.epoch, encoded(epoch)]], changes=True)
    # Last: if only a part of this was done, the key space cannot be opened, and this is repeated.
    description = {"settled": space.format, "partitions": len(space.partitions), "epoch": epoch}
    servers.ask(key_slot(key), [[b"SET", key, encoded(json.dumps(description))]], changes=True)


def require_one_epoch(servers: Topology, space: KeySpace) -> None:
    """Check that all partitions have the epoch of the key space, as far as its format has them.

    Raises:
        RecordError: one does not: a server was emptied, or restored without the others.
    """
    if space.format < _FIRST_WITH_EPOCHS:
        return
    for partition in space.partitions:
        (found,) = servers.ask(partition.slot, [[b"GET", partition.epoch]], changes=False)
        if found != encoded(space.epoch):
            raise RecordError(
                f"{decoded(partition.prefix)}: the keys of this partition were lost, or restored without the others: "
                "restore all of them from one backup, or accept the loss with settled new-epoch, as docs/backup.md says"
            )


def _format_key(prefix: str) -> bytes:
    return encoded(f"{prefix}format")


def _require_empty(servers: Topology, space: KeySpace) -> None:
    for partition in space.partitions:
        # An epoch alone is that of another process which is creating the key space, or was killed meanwhile.
        keys = [key for key in partition.keys if key != partition.epoch]
        (count,) = servers.ask(partition.slot, [[b"EXISTS", *keys]], changes=False)
        if count:
            raise RecordError(
                f"there are keys under {space.prefix}, but no format key: use another prefix; "
                "or delete them, if this server was emptied while settled was running"
            )


def _parse_format(found: bytes, prefix: str) -> KeySpace:
    try:
        description: dict[str, Any] = json.loads(found)
        # First: other formats may lack the rest.
        format = int(description["settled"])
        _require_format(format, prefix)
        return KeySpace.of(prefix, int(description["partitions"]), str(description["epoch"]), format)
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the keys under {prefix} are those of another application: use another prefix") from error


def _require_format(version: int, prefix: str) -> None:
    formats = f"(format {version}, this one reads {OLDEST_FORMAT} to {FORMAT})"
    if version > FORMAT:
        raise RecordError(f"the keys under {prefix} are of a newer settled {formats}: update settled")
    if version < OLDEST_FORMAT:
        remedy = "use another prefix, or let that one finish what is there and delete it"
        raise RecordError(f"the keys under {prefix} are of a settled that is too old {formats}: {remedy}")
