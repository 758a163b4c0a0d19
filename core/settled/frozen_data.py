"""JSON objects and arrays that cannot be changed: what logic is handed, and what snapshots and effects hold.

They are a dict and a list, so all that reads one reads them as well: ``isinstance``, ``==``, ``json.dumps``, ``[*x]``.
Whatever makes a new one of them makes a plain one: ``|``, ``+``, ``.copy()``, `copy.deepcopy`, unpickling, and even a
call of their own class. Only `settled.data.freeze` makes frozen ones, and it looks at all that is in them.
"""

from __future__ import annotations

from typing import Any, NoReturn

NOT_JSON = 1 << 30
"""The `levels` of data that is not JSON: more than are ever allowed."""


class _MadeByFreeze(type):
    """The class of the classes below. To call one of them makes a plain object or array of the arguments."""

    plain: type[Any]

    def __call__(cls, *args: Any, **more: Any) -> Any:
        return cls.plain(*args, **more)


class FrozenDict(dict[str, Any], metaclass=_MadeByFreeze):
    """An object of text, integers, booleans and nulls alone, as most are; of anything else: `NestedFrozenDict`."""

    __slots__ = ()

    plain = dict
    levels: int = 1

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class NestedFrozenDict(FrozenDict):
    """An object that may hold other frozen data.

    `levels` is how many arrays and objects are nested in each other, this one included; at least `NOT_JSON` if a part
    is not JSON.
    """

    __slots__ = ("levels",)

    levels: int


class FrozenList(list[Any], metaclass=_MadeByFreeze):
    """An array. `levels` is as in `NestedFrozenDict`."""

    __slots__ = ("levels",)

    plain = list
    levels: int

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _refuse(self: object, *args: object, **more: object) -> NoReturn:
    raise TypeError(
        f"this {'object' if isinstance(self, dict) else 'array'} cannot be changed, because others hold it too: make "
        "a new one, as in assign(items=lambda a: [*a.context['items'], x])"
    )


make_frozen: Any = type.__call__
"""Return a new instance of one of the classes above, of a dict or list whose parts are frozen."""


# Not as methods of the classes: they would have to keep to the signatures of those that they replace.
for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(FrozenDict, _name, _refuse)
for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend"):
    setattr(FrozenList, _name, _refuse)
for _name in ("insert", "pop", "remove", "reverse", "sort"):
    setattr(FrozenList, _name, _refuse)
