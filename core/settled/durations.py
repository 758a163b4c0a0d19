"""The unit of durations: a `timedelta` wherever Python code gives one, float seconds inside.

Milliseconds exist in the text of a config only, because there they are XState's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def in_seconds(duration: timedelta, name: str) -> float:
    """Return the seconds of `duration`, which was given as `name`.

    Raises:
        TypeError: it is not a timedelta.
        ValueError: it is negative.
    """
    check_duration(duration, name)
    return duration.total_seconds()


def check_duration(duration: object, name: str) -> None:
    """Check that `duration`, which was given as `name`, is a timedelta of zero or more.

    Raises:
        TypeError: it is not a timedelta.
        ValueError: it is negative.
    """
    if not isinstance(duration, timedelta):
        raise TypeError(f"{name} must be a timedelta, such as timedelta(seconds=5), not {duration!r}")
    if duration < timedelta():
        raise ValueError(f"{name} must not be negative, as {duration!r} is")


def is_duration(_instance: object, attribute: Any, value: Any) -> None:
    """Validate a field of an attrs class as `check_duration` does."""
    check_duration(value, attribute.name)
