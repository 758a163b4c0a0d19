"""How often something that failed is attempted again, and when."""

from __future__ import annotations

from datetime import timedelta

from attrs import field, frozen

from settled.durations import is_duration
from settled.validators import instance_of, number_of_at_least, whole_number_of_at_least


@frozen
class Backoff:
    """Waits that grow: the first is `first`, each further one is `factor` times as long, up to `max_wait`.

    `factor` is at least 1, and no wait is negative.
    """

    first: timedelta = field(default=timedelta(seconds=1), validator=is_duration)
    factor: float = field(default=2.0, validator=number_of_at_least(1))
    max_wait: timedelta = field(default=timedelta(minutes=5), validator=is_duration)

    def wait(self, attempt: int) -> timedelta:
        """Return the wait before attempt number `attempt`, counted from 1; it is zero for the first one."""
        if attempt <= 1:
            return timedelta()
        try:
            return min(self.first * self.factor ** (attempt - 2), self.max_wait)
        except OverflowError:  # of the power, or of the timedelta
            return self.max_wait


@frozen
class Retry:
    """How many times an actor is attempted, the first time included and so at least 1, with which waits in between."""

    attempts: int = field(default=1, validator=whole_number_of_at_least(1))
    backoff: Backoff = field(default=Backoff(), validator=instance_of(Backoff, "Backoff(factor=2)"))
