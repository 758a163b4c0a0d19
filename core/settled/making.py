"""Frozen instances, made in less than half the time.

An instance of a frozen class refuses assignment, so its own ``__init__`` has to go around that with a call for each
field. Where very many are made, it pays to fill in one that is not frozen yet, and to freeze it then.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from attrs import define

T = TypeVar("T")


def maker(kind: type[T]) -> type[T]:
    """A class that takes the arguments of the frozen attrs class `kind`, and whose instances are instances of `kind`.

    It adds no fields, so Python lets an instance change its class from the one to the other.
    """

    def freeze(self: Any) -> None:
        self.__class__ = kind

    open_to_assignment = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    body = {"__slots__": (), **open_to_assignment, "__attrs_post_init__": freeze}
    return cast("type[T]", define(type(kind.__name__, (kind,), body), eq=False, repr=False))
