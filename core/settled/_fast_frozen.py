"""Create instances of frozen attrs classes in a third of the time.

A frozen class forbids assignment, so the ``__init__`` that attrs generates needs a call of ``object.__setattr__`` for
each field. For classes instantiated several times a step there is therefore a subclass that allows assignment; at the
end of its ``__init__`` it sets ``__class__`` to the frozen class. Python permits that because the two have the same
layout: the subclass must have empty ``__slots__``.

`evolve` replaces attrs' own: it inspects each class once, and copies the ``__dict__`` of an instance whose class was
declared with ``slots=False``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import fields

__all__ = ["MutableWhileBuilding", "evolve"]

T = TypeVar("T")


class MutableWhileBuilding:
    """Mixin that allows assignment; it must come before the frozen class among the bases."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


if TYPE_CHECKING:
    from attrs import evolve  # type checkers know its arguments
else:
    _Layout = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]] | None]
    _layouts: dict[type[Any], _Layout] = {}

    def evolve(instance: T, **changes: Any) -> T:
        """Return a copy of `instance` with `changes`."""
        cls = instance.__class__
        names, values = _layouts.get(cls) or _layout(cls)
        if values is None:
            # Skips ``__init__`` and so any converters and validators: no class with ``slots=False`` may have some.
            copy = object.__new__(cls)
            copy.__dict__.update(instance.__dict__, **changes)
            if len(copy.__dict__) == len(names):  # a wrong name in `changes` would have been added
                return copy
            raise TypeError(f"{cls.__name__} has no {', '.join(changes.keys() - set(names))}")
        return cls(**{**dict(zip(names, values(instance), strict=False)), **changes})

    def _layout(cls: type[Any]) -> _Layout:
        found = [each for each in fields(cls) if each.init]
        # The first name twice, because with a single name attrgetter returns the value and not a tuple.
        values = attrgetter(*(each.name for each in found), found[0].name)
        names = tuple(each.alias for each in found)
        layout = _layouts[cls] = names, values if "__slots__" in vars(cls) else None
        return layout
