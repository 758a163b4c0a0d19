"""Map keys, messages and timers to the names that AWS accepts for them.

A name is readable wherever AWS allows it, so that people recognise it in the console; otherwise it is a hash. A written
key contains a slash and a hash never does, so the two cannot collide.
"""

from __future__ import annotations

import hashlib
import string

from settled.durable.messages import Message
from settled.key import Key

MAX_GROUP_ID_LENGTH = 128
"""SQS' limit on a MessageGroupId, in characters."""

MAX_PARTITION_KEY_BYTES = 1024
"""Limit on a readable partition key; DynamoDB's own limit is 2,048 bytes."""

_GROUP_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation)
"""The characters that SQS allows in a MessageGroupId."""


def group_id(key: Key) -> str:
    """Return the MessageGroupId of `key`."""
    name = str(key)
    return name if len(name) <= MAX_GROUP_ID_LENGTH and _GROUP_ID_CHARACTERS.issuperset(name) else _hash(name)


def key_of_group(group: str) -> Key | None:
    """Return the key whose `group_id` is `group`; None if that is a hash, or the group of no key."""
    try:
        key = Key.parse(group)
    except ValueError:
        return None
    return key if key.machine and key.instance and group_id(key) == group else None


def partition_key(key: Key) -> str:
    """Return the partition key shared by all items of `key`."""
    name = str(key)
    return name if len(_bytes(name)) <= MAX_PARTITION_KEY_BYTES and name.isprintable() else _hash(name)


def deduplication_id(message: Message) -> str:
    """Return the MessageDeduplicationId of `message`."""
    key = str(message.key)
    # The key is part of it because the queue's DeduplicationScope may be the whole queue, and two keys may use the same
    # id. The body is part of it because SQS silently drops a known id with another body; only the record can report
    # that the id was reused. The lengths keep different fields from giving the same text.
    return _hash(f"{len(key)} {key} {len(message.id)} {message.id} {message.body}")


def epoch(queue: str, created: str) -> str:
    """Return the epoch of a queue's sequence numbers, from its ARN and CreatedTimestamp.

    It is short because every record stores it.
    """
    return _hash(f"{queue} {created}")[:12]


def schedule_name(timer_id: str) -> str:
    """Return the name of the schedule for a timer: 64 characters, EventBridge Scheduler's limit."""
    return _hash(timer_id)


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
