"""What a host may decide about its turns, and how a turn ends."""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta
from enum import StrEnum

from attrs import frozen

from settled.chart.implementations import Retry
from settled.durable.window import WINDOW


@frozen
class Policy:
    """How patient a turn is. All times are in seconds.

    `window`: how many messages a record remembers besides those that may be handed out again: for so long a sender may
    repeat one. `max_attempts`: after how many
    failures a message is set aside. `max_receives`: how often a message may be received without progress before each
    receive counts as a failure, because its workers seem to die of it. `lease`: for how long nobody else may go on
    with a turn that was left open. `backoff`: the waits between failures. `accepts`: versions of machines whose records
    are taken as they are, although no migration starts from them; so an operator permits a rollback.
    """

    window: int = WINDOW
    max_attempts: int = 5
    max_receives: int = 10
    lease: float = 30.0
    backoff: Retry = Retry(first=timedelta(seconds=1), factor=2.0, longest=timedelta(minutes=5))
    accepts: Container[str] = frozenset[str]()


class TurnEnd(StrEnum):
    """How a turn ended for its deliveries."""

    DONE = "done"
    """All were acknowledged."""

    RELEASED = "released"
    """Those that were not acknowledged were given back."""

    LOST = "lost"
    """Another worker owns the turn; nothing more may be done with the deliveries."""
