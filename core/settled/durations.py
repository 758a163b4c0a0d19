"""The unit of durations: a `timedelta` wherever Python code gives one, float seconds inside.

Milliseconds exist in the text of a config only, because there they are XState's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

MAX_DURATION = timedelta(days=36_500)
"""The longest duration, a hundred years: what comes from it must stay an instant that every backend can store."""


def check_duration(duration: object, name: str) -> timedelta:
    """Return `duration`, which was given as `name`.

    Raises:
        TypeError: it is not a timedelta.
        ValueError: it is negative, or longer than `MAX_DURATION`.
    """
    if not isinstance(duration, timedelta):
        raise TypeError(f"{name} must be a timedelta, such as timedelta(seconds=5), not {duration!r}")
    if duration < timedelta():
        raise ValueError(f"{name} must not be negative, as {duration!r} is")
    if duration > MAX_DURATION:
        raise ValueError(f"{name} must not be longer than {MAX_DURATION.days} days, as {duration!r} is")
    return duration


def in_seconds(duration: timedelta, name: str) -> float:
    """Return the seconds of `duration`, which `check_duration` checks."""
    return check_duration(duration, name).total_seconds()


def is_duration(_instance: object, attribute: Any, value: Any) -> None:
    """Validate a field of an attrs class as `check_duration` does."""
    check_duration(value, attribute.name)


def is_long_duration(_instance: object, attribute: Any, value: Any) -> None:
    """Validate a field of an attrs class as `check_duration` does; zero is invalid, too."""
    if not check_duration(value, attribute.name):
        raise ValueError(f"{attribute.name} must be longer than zero")


def from_milliseconds(delay: Any) -> Any:
    """Return the `delay` of a config, in which a number is milliseconds; anything else is returned as it is.

    Raises:
        ValueError: it is a number that no timedelta can hold.
    """
    if not isinstance(delay, int | float) or isinstance(delay, bool):
        return delay
    try:
        return timedelta(milliseconds=delay)
    except (OverflowError, ValueError) as error:  # ValueError: NaN
        raise ValueError(f"{delay!r} milliseconds are not a delay") from error
