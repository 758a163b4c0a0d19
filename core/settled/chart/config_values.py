"""Check the values in a config before anything is made of them: what they are, and how deeply they are nested.

A config is JSON. In Python it may also have functions, durations, machines, and whatever `assign` and the like return.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from attrs import has

from settled.chart.problems import join_path
from settled.data import is_array, is_object
from settled.errors import DefinitionProblem

MAX_DEPTH = 128
"""How deeply the objects and arrays of a config may be nested: a state takes two levels, so there may be 64 in a line.

Without a limit, reading a config would end in a RecursionError that depends on how deeply the caller is nested.
"""


def value_problems(value: Any, path: str = "", depth: int = 0) -> Iterator[DefinitionProblem]:
    """Yield a problem for each part of `value`, which is at `path` and `depth`, that cannot be in a config."""
    if (is_object(value) or is_array(value)) and depth == MAX_DEPTH:
        problem = f"objects and arrays are nested more than {MAX_DEPTH} levels deep"
        yield DefinitionProblem(path, problem, "Move some of it into a machine of its own, and invoke that.")
    elif is_object(value):
        yield from _object_problems(value, path, depth)
    elif is_array(value):
        for index, item in enumerate(value):
            yield from value_problems(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and value - value != 0:  # infinity and NaN give NaN
        yield DefinitionProblem(path, f"{value!r} is not a JSON number", "Numbers in JSON are below 1.8e308.")
    elif not _is_leaf(value):
        remedy = "Write it as text or as a number, and convert it where it is used."
        yield DefinitionProblem(path, f"{type(value).__qualname__} is not JSON", remedy)


def _object_problems(value: Mapping[Any, Any], path: str, depth: int) -> Iterator[DefinitionProblem]:
    names = set[str]()
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, str | int | float | timedelta):
            yield DefinitionProblem(path, f"the key {key!r} is not text")
            continue
        name = json_key(key)
        if name in names:
            yield DefinitionProblem(join_path(path, name), "this key is given twice", "Merge the two.")
        names.add(name)
        yield from value_problems(item, join_path(path, name), depth + 1)


def _is_leaf(value: object) -> bool:
    if value is None or isinstance(value, bool | int | float | str | timedelta) or callable(value):
        return True
    return has(type(value))  # a machine, an event, or what `actor`, `assign`, `and_` and the like return


def json_key(key: Any) -> str:
    """Return `key` as text; a duration, which a config in Python may have as a key of ``after``, in milliseconds."""
    if not isinstance(key, timedelta):
        return str(key)
    milliseconds = key / timedelta(milliseconds=1)
    return str(int(milliseconds) if milliseconds.is_integer() else milliseconds)
