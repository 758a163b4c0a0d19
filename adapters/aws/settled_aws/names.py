"""Under which names AWS knows a key, a message and a timer.

A name is the thing's own wherever AWS can take it, so that people recognise it in the console, and else a hash. A
written key has a slash and a hash has none, so one is never mistaken for the other.
"""

from __future__ import annotations

import hashlib
import string

from settled.durable.messages import Message
from settled.key import Key

LONGEST_GROUP = 128
"""Characters of a message group id."""

LONGEST_PARTITION = 1024
"""Bytes of a partition key; DynamoDB would take 2,048."""

_PLAIN = frozenset(string.ascii_letters + string.digits + string.punctuation)
"""What SQS takes in a message group id."""


def group_id(key: Key) -> str:
    """The message group of `key`."""
    name = str(key)
    return name if len(name) <= LONGEST_GROUP and _PLAIN.issuperset(name) else _hash(name)


def partition(key: Key) -> str:
    """The partition key of all items of `key`."""
    name = str(key)
    return name if len(_bytes(name)) <= LONGEST_PARTITION and name.isprintable() else _hash(name)


def deduplication_id(message: Message) -> str:
    """Return the text by which SQS recognises `message` (its MessageDeduplicationId).

    The key is in it, because other keys may use the same id, and a queue may not tell groups apart; and so is the body,
    because SQS would say nothing of another one, and drop it. Let through, it is for the record to find out.
    """
    key = str(message.key)
    return _hash(f"{len(key)} {key} {len(message.id)} {message.id} {message.body}")


def epoch(queue: str, created: str) -> str:
    """Return the name of a queue's numbering, from its ARN and CreatedTimestamp: short, as each record holds it."""
    return _hash(f"{queue} {created}")[:12]


def schedule_name(timer_id: str) -> str:
    """The name of the schedule for a timer: 64 characters, which is as many as a name may have."""
    return _hash(timer_id)


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
