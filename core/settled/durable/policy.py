"""The policy of turns, and the ways in which a turn ends."""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from attrs import field, frozen

from settled.chart.retry import Backoff
from settled.durable.window import WINDOW
from settled.durations import is_duration
from settled.validators import instance_of, is_set_of_names, one_of, whole_number_of_at_least


@frozen
class Policy:
    """The limits, waits and accepted versions of a turn.

    Attributes:
        window: how many messages a record remembers besides those that may be delivered again. A sender may repeat a
            message for as long as it is among them.
        max_attempts: after how many failures a message becomes a dead letter.
        failed_events: what happens to the instance then: ``halt`` halts it, so that later messages wait as dead letters
            behind this one; ``skip`` lets it go on with the next message. An event may be skipped if it was sent by a
            client or another machine, and if its own step has failed, so that it has had no effect. Everything else
            halts the instance: it might wait for ever for what was skipped.
        receives_before_watch: how many times a message may be received without progress before what it runs is noted
            in the record. If its worker is lost even then, it may be the cause, and is run alone.
        lease: for how long no other worker may resume a turn that was left open. A host sets it to its backend's.
        backoff: the waits between failures of a message.
        suspend_after: how long a turn may be open before it waits outside the queue for its next timer or attempt, with
            the messages that come meanwhile; see `docs/guarantees.md`. It matters only where the queue forgets messages
            in the end (`Backend.retention`), and is half of that time at most.
        accepts: versions of machines whose records are taken as they are, although no migration starts from them. This
            is how an operator permits a rollback.
    """

    window: int = field(default=WINDOW, validator=whole_number_of_at_least(0))
    max_attempts: int = field(default=5, validator=whole_number_of_at_least(1))
    failed_events: Literal["halt", "skip"] = field(  # pyright: ignore[reportAssignmentType] (it takes the default for any text)
        default="halt", validator=one_of("halt", "skip")
    )
    receives_before_watch: int = field(default=2, validator=whole_number_of_at_least(1))
    lease: timedelta = field(default=timedelta(seconds=30), validator=is_duration)
    backoff: Backoff = field(default=Backoff(), validator=instance_of(Backoff, "Backoff(factor=2)"))
    suspend_after: timedelta = field(default=timedelta(hours=1), validator=is_duration)
    accepts: Container[str] = field(default=frozenset[str](), validator=is_set_of_names)


class TurnEnd(StrEnum):
    """How a turn ended for its deliveries."""

    DONE = "done"
    """All of them were acknowledged."""

    RELEASED = "released"
    """Those that were not acknowledged were returned to the queue."""

    LOST = "lost"
    """Another worker may have the turn. This one must not touch the deliveries any more."""
