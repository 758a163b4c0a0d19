"""Frozen instances, made in a third of the time.

An instance of a frozen class refuses assignment, so its own ``__init__`` has to go around that with a call for each
field. Of what is made several times in each step there is therefore a subclass that can be assigned to, for as long as
an instance of it takes to be made: last of all, that turns itself into one of the frozen class. Python lets it, because
the subclass adds nothing to the instance.

`evolve` is attrs' own, but what it finds out about a class it finds out once; and an instance that has a dictionary,
because its class was declared with ``slots=False``, is copied by copying that.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import fields

__all__ = ["MutableWhileBuilding", "evolve"]

T = TypeVar("T")


class MutableWhileBuilding:
    """Undoes the frozenness of the class that is named after it among the bases."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


if TYPE_CHECKING:
    from attrs import evolve  # whose arguments the type checkers know
else:
    _Layout = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]] | None]
    _layouts: dict[type[Any], _Layout] = {}

    def evolve(instance: T, **changes: Any) -> T:
        """A copy of `instance` with `changes`."""
        cls = instance.__class__
        names, values = _layouts.get(cls) or _learn(cls)
        if values is None:
            copy = object.__new__(cls)
            copy.__dict__.update(instance.__dict__, **changes)
            if len(copy.__dict__) == len(names):
                return copy
            raise TypeError(f"{cls.__name__} has no {', '.join(changes.keys() - set(names))}")
        return cls(**{**dict(zip(names, values(instance), strict=False)), **changes})

    def _learn(cls: type[Any]) -> _Layout:
        found = [each for each in fields(cls) if each.init]
        # One name more, because for a single one an attrgetter answers without a tuple.
        values = attrgetter(*(each.name for each in found), found[0].name)
        names = tuple(each.alias for each in found)
        layout = _layouts[cls] = names, values if "__slots__" in vars(cls) else None
        return layout
