"""The worst logic there is: it tries to change, in place, all that it is handed and all that it has ever returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from attrs import Factory, define, fields, has

from settled.chart.chart import Configuration

DICT_CHANGES: tuple[Callable[[Any], object], ...] = (
    lambda data: data.__setitem__("broken", True),
    lambda data: data.update(broken=True),
    lambda data: data.setdefault("broken", True),
    lambda data: data.__ior__({"broken": True}),
    lambda data: data.__delitem__(next(iter(data))),
    lambda data: data.pop(next(iter(data))),
    lambda data: data.popitem(),
    lambda data: data.clear(),
)
LIST_CHANGES: tuple[Callable[[Any], object], ...] = (
    lambda data: data.append("broken"),
    lambda data: data.extend(["broken"]),
    lambda data: data.insert(0, "broken"),
    lambda data: data.__setitem__(0, "broken"),
    lambda data: data.__iadd__(["broken"]),
    lambda data: data.__imul__(2),
    lambda data: data.reverse(),
    lambda data: data.sort(key=str),
    lambda data: data.__delitem__(0),
    lambda data: data.pop(),
    lambda data: data.remove(data[0]),
    lambda data: data.clear(),
)


def change_all(value: Any) -> None:
    """Try to change `value` and all that can be reached from it, whatever raises."""
    for part in list(_parts(value)):
        change_all(part)
    kind: Any = value.__class__
    changes = DICT_CHANGES if issubclass(kind, Mapping) else LIST_CHANGES if issubclass(kind, list) else ()
    for change in changes:
        with suppress(TypeError, AttributeError, IndexError, StopIteration, KeyError):
            change(value)
    if has(cast("type[Any]", kind)):
        for field in fields(cast("type[Any]", kind)):
            with suppress(AttributeError):  # attrs' FrozenInstanceError is one
                setattr(value, field.name, "broken")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from cast("Mapping[object, object]", value).values()
    elif isinstance(value, list | tuple):
        yield from cast("list[object]", value)
    elif isinstance(value, Configuration):  # and not its nodes, which no function has business with
        yield from (value.value, value.meta)
    elif has(value.__class__):
        yield from (getattr(value, field.name) for field in fields(value.__class__))


@define
class Vandal:
    """Wraps functions of an author, so that each changes what it can once it has computed its result."""

    returned: list[Any] = Factory(list[Any])

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def vandalised(a: Any) -> Any:
            result = function(a)
            change_all(a)
            for earlier in self.returned:
                change_all(earlier)
            self.returned.append(result)
            return result

        return vandalised


def honest(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as it is."""
    return function
