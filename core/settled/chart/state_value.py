"""State values: the active states of a machine in XState's form, a key or keys within keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from settled.chart.nodes import split_path

StateValue: TypeAlias = "str | Mapping[str, StateValue]"


def value_matches(wanted: StateValue, value: StateValue) -> bool:
    """Return whether the state value `value` matches `wanted`, which may be partial. Text may be a dotted path."""
    wanted, value = expand_path(wanted), expand_path(value)
    if isinstance(value, str):
        return wanted == value
    if isinstance(wanted, str):
        return wanted in value
    return all(key in value and value_matches(inner, value[key]) for key, inner in wanted.items())


def expand_path(value: StateValue) -> StateValue:
    """Return `value`, with a dotted path expanded to nested objects."""
    if not isinstance(value, str):
        return value
    *ancestors, last = split_path(value)
    result: StateValue = last
    for key in reversed(ancestors):
        result = {key: result}
    return result
