"""State values: the active states of a machine, as XState writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from settled.chart.nodes import split_path

StateValue: TypeAlias = "str | Mapping[str, StateValue]"


def value_matches(wanted: StateValue, value: StateValue) -> bool:
    """Whether the state value `value` is `wanted` or inside it. Texts may be dotted paths."""
    wanted, value = expand_path(wanted), expand_path(value)
    if isinstance(value, str):
        return wanted == value
    if isinstance(wanted, str):
        return wanted in value
    return all(key in value and value_matches(inner, value[key]) for key, inner in wanted.items())


def expand_path(value: StateValue) -> StateValue:
    """`value`, with objects in the place of a dotted path."""
    if not isinstance(value, str):
        return value
    *around, unfolded = split_path(value)
    result: StateValue = unfolded
    for key in reversed(around):
        result = {key: result}
    return result
