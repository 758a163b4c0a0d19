"""From JSON, or a mapping, to a config: cattrs walks, and the hooks here know what XState lets a person leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from attrs import fields, has

from settled.data import Json, is_array, is_object, parse, write
from settled.errors import DefinitionError, DefinitionProblem

if TYPE_CHECKING:
    from cattrs import Converter

from settled.chart.config import (
    EMPTY,
    InitialConfig,
    Inline,
    InvokeConfig,
    MachineConfig,
    Named,
    NodeType,
    OptionsConfig,
    Reference,
    RouteConfig,
    SingleOrArray,
    StateConfig,
    T,
    TransitionConfig,
)


def config_from(source: str | Mapping[str, Any]) -> MachineConfig:
    """The config in `source`, a JSON text or a mapping.

    Raises:
        DefinitionError: with every fault that was found.
    """
    whole: Any = ordered(_parsed(source) if isinstance(source, str) else source)
    if not is_object(whole):
        raise DefinitionError([DefinitionProblem("", f"a machine is a JSON object, not {_kind(whole)}")])
    own = {key: value for key, value in whole.items() if key in _ONLY_OF_A_ROOT}
    plain = {key: value for key, value in whole.items() if key not in own}
    faults: list[DefinitionProblem] = []
    root = _structured(plain, StateConfig, faults)
    options = _structured(own.get("options") or {}, OptionsConfig, faults, "options")
    version = own.get("version")
    if version is not None and not isinstance(version, str):
        faults.append(DefinitionProblem("version", f"expected text, not {_kind(version)}"))
    if faults or root is None or options is None:
        raise DefinitionError(faults)
    context = own.get("context")
    return MachineConfig(
        root=root,
        id=root.id or "(machine)",
        fingerprint=_fingerprint(whole),
        version=version,
        context={} if context is None else context,
        options=options,
    )


_ONLY_OF_A_ROOT = ("context", "version", "options", "schemas", "types")


def ordered(value: Any) -> Any:
    """`value` with the keys of all its objects as JavaScript has them: integer-like ones first, ascending."""
    if is_object(value):
        items = {_key(key): ordered(item) for key, item in value.items()}
        return dict(sorted(items.items(), key=lambda item: _rank(item[0])))
    return [ordered(item) for item in value] if is_array(value) else value


def _key(key: Any) -> str:
    """`key` as JSON has it; a duration, which a config written in Python may have as a delay, in milliseconds."""
    if not isinstance(key, timedelta):
        return str(key)
    milliseconds = key / timedelta(milliseconds=1)
    return str(int(milliseconds) if milliseconds.is_integer() else milliseconds)


_LARGEST_INDEX = 2**32 - 2
"""The largest integer that JavaScript keeps as an array index, and so in numeric order."""


def _rank(key: str) -> tuple[bool, int]:
    is_index = key.isascii() and key.isdigit() and str(int(key)) == key and int(key) <= _LARGEST_INDEX
    return (False, int(key)) if is_index else (True, 0)


def _parsed(text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise DefinitionError([DefinitionProblem("", f"not JSON: {error}")]) from error


def _fingerprint(plain: Mapping[str, Any]) -> str:
    return sha256(write(_nameable(plain)).encode("utf-8", "surrogatepass")).hexdigest()


def _nameable(value: Any) -> Json:
    """`value` as JSON; a function stands as its name, so the same source gives the same text in every process."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case _ if is_object(value):
            return {key: _nameable(item) for key, item in value.items()}
        case _ if is_array(value):
            return [_nameable(item) for item in value]
        case _ if has(kind := value.__class__):
            return {"$": kind.__qualname__, **{it.name: _nameable(getattr(value, it.name)) for it in fields(kind)}}
        case _:
            return {"$": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"}


# Reading: cattrs does the walking; the hooks below know what XState lets a person leave out.


class ConfigValueError(ValueError):
    """Something in a config that does not fit where it stands, before its path is known."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _structured(value: Any, into: type[T], faults: list[DefinitionProblem], path: str = "") -> T | None:
    converter = _converter()
    try:
        return converter.structure(value, into)
    except Exception as error:
        faults.extend(_faults(error, path))
        return None


@cache
def _converter() -> Converter:
    # cattrs is half of what importing settled would cost, and a machine that is only looked at never needs it.
    from cattrs import Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    converter = Converter(use_alias=True, forbid_extra_keys=True)

    converter.register_structure_hook_func(_is_several, lambda value, kind: _several(converter, value, kind))
    converter.register_structure_hook_func(_is_by_key, lambda value, kind: _by_key(converter, value, kind))
    converter.register_structure_hook_func(_is_optional, lambda value, kind: _optional(converter, value, kind))
    converter.register_structure_hook_func(_exactly(Reference), lambda value, _: _reference(converter, value))
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(int, _count)
    converter.register_structure_hook_func(_exactly(tuple[str, ...]), lambda value, _: _texts(value))
    converter.register_structure_hook_func(_exactly(NodeType), _node_type)
    converter.register_structure_hook_func(_exactly(Literal["shallow", "deep"] | None), _history)
    for into in (Named, TransitionConfig, RouteConfig, InitialConfig, InvokeConfig, StateConfig, OptionsConfig):
        converter.register_structure_hook(into, _reader(make_dict_structure_fn(into, converter), into))
    return converter


def _exactly(wanted: Any) -> Callable[[Any], bool]:
    return lambda kind: bool(kind == wanted)


def _reader(read_object: Callable[[Mapping[str, Any], Any], T], into: type[T]) -> Callable[[Any, Any], T]:
    shorthand = _SHORTHAND.get(into, _as_it_is)
    return lambda value, _: read_object(_object(shorthand(value)), into)


def _as_it_is(value: Any) -> Any:
    return value


def _transition(value: Any) -> Any:
    """``null`` is what JSON has for ``undefined``: a transition that forbids its event."""
    match value:
        case None:
            return {}
        case str():
            return {"target": value}
        case _:
            return value


_SHORTHAND: Mapping[type, Callable[[Any], Any]] = {
    TransitionConfig: _transition,
    InitialConfig: lambda value: {"target": value} if isinstance(value, str) else value,
    InvokeConfig: lambda value: {"src": value} if isinstance(value, str) or callable(value) else value,
}


def _object(value: Any) -> Mapping[str, Any]:
    if not is_object(value):
        raise ConfigValueError(f"expected an object, not {_kind(value)}")
    return value


def _is_several(kind: Any) -> bool:
    return get_origin(kind) is SingleOrArray


def _several(converter: Converter, value: Any, kind: Any) -> SingleOrArray[Any]:
    (item,) = get_args(kind)
    if isinstance(value, list):
        items: Any = list[item]  # type: ignore[valid-type]
        return SingleOrArray(tuple(converter.structure(value, items)))
    if value is None and item is not TransitionConfig:
        return EMPTY
    return SingleOrArray((converter.structure(value, item),), listed=False)


def _is_by_key(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _by_key(converter: Converter, value: Any, kind: Any) -> Mapping[str, Any]:
    key, item = get_args(kind)
    items: Any = dict[key, item]  # type: ignore[valid-type]
    return cast("Mapping[str, Any]", converter.structure({} if value is None else _object(value), items))


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _optional(converter: Converter, value: Any, kind: Any) -> Any:
    """``null`` for what may be left out is the same as leaving it out; so is the empty target."""
    inner: list[Any] = [each for each in get_args(kind) if each is not type(None)]
    if value is None or (value == "" and inner == [SingleOrArray[str]]):
        return None
    return converter.structure(value, inner[0] if len(inner) == 1 else cast("Any", Reference))


def _reference(converter: Converter, value: Any) -> Reference:
    match value:
        case str():
            return Named(value)
        case Mapping():
            return converter.structure(value, Named)
        case bool() | int() | float() | list() | None:
            raise ConfigValueError(f"expected a name, an object with a type, or a function, not {_kind(value)}")
        case _:
            return Inline(value)


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ConfigValueError(f"expected text, not {_kind(value)}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(_text(item, str) for item in (value if is_array(value) else [value]))


def _truth(value: Any, _: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ConfigValueError(f"expected true or false, not {_kind(value)}")
    return bool(value)


def _count(value: Any, _: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigValueError(f"expected a whole number above zero, not {_kind(value)}")
    return value


def _node_type(value: Any, _: Any) -> str:
    known = get_args(NodeType)
    if value not in known:
        raise ConfigValueError(f"no such type of state: {value!r}", _did_you_mean(str(value), known))
    return str(value)


def _history(value: Any, _: Any) -> str | None:
    match value:
        case False:
            return None
        case True | "shallow":
            return "shallow"
        case "deep":
            return "deep"
        case _:
            raise ConfigValueError(f"no such kind of history: {value!r}", "A history is shallow (true) or deep.")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "an object"
        case list() | tuple():
            return "an array"
        case str():
            return f"the text {value!r}"
        case int() | float():
            return f"the number {value}"
        case _:
            return f"a {type(value).__qualname__}"


# Faults: cattrs answers with a tree of exceptions, whose notes say where in it each one arose.


def _faults(error: BaseException, path: str) -> Iterator[DefinitionProblem]:
    from cattrs import BaseValidationError, ForbiddenExtraKeysError  # noqa: PLC0415

    match error:
        case BaseValidationError():
            for inner in error.exceptions:
                yield from _faults(inner, _joined(path, inner))
        case ForbiddenExtraKeysError():
            for key in sorted(error.extra_fields):
                yield DefinitionProblem(_below(path, key), "no such key", _remedy(error.cl, key))
        case KeyError():
            yield DefinitionProblem(path, f"{error.args[0]!r} is missing")
        case ConfigValueError():
            yield DefinitionProblem(path, error.problem, error.remedy)
        case _:
            yield DefinitionProblem(path, str(error))


def _joined(path: str, error: BaseException) -> str:
    from cattrs import AttributeValidationNote, IterableValidationNote  # noqa: PLC0415

    for note in getattr(error, "__notes__", ()):
        match note:
            case AttributeValidationNote() if not isinstance(error, KeyError):
                return _below(path, _WRITTEN.get(note.name, note.name))
            case IterableValidationNote() if isinstance(note.index, int):
                return f"{path}[{note.index}]"
            case IterableValidationNote():
                return _below(path, str(note.index))
            case _:
                pass
    return path


_WRITTEN: Mapping[str, str] = {
    item.name: item.alias or item.name for into in (InvokeConfig, StateConfig, OptionsConfig) for item in fields(into)
}


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _remedy(into: type[Any], key: str) -> str:
    return _RENAMED.get(into, {}).get(key) or _did_you_mean(key, [item.alias or item.name for item in fields(into)])


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415

    close = get_close_matches(word, known, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known are: {', '.join(known)}."


_V4 = "This is XState v4. In v5 "
_LOGIC = "Logic is not part of a config: hand it to setup()."
_RENAMED: Mapping[type[Any], Mapping[str, str]] = {
    TransitionConfig: {
        "cond": _V4 + 'it is called "guard".',
        "in": _V4 + 'use the guard "xstate.stateIn".',
        "internal": _V4 + 'transitions are internal unless they say "reenter": true.',
        "delay": 'Use "after".',
    },
    InvokeConfig: {
        "data": _V4 + 'it is called "input".',
        "autoForward": _V4 + 'forward events with the action "xstate.forwardTo".',
    },
    StateConfig: {
        "onEntry": _V4 + 'it is called "entry".',
        "onExit": _V4 + 'it is called "exit".',
        "data": _V4 + 'it is called "output".',
        "activities": _V4 + 'use "invoke".',
        "parallel": _V4 + 'write "type": "parallel".',
        "onError": 'Put "onError" into the invoke.',
        "internal": _V4 + 'transitions are internal unless they say "reenter": true.',
        "services": _V4 + "they are called actors. " + _LOGIC,
        "actors": _LOGIC,
        "guards": _LOGIC,
        "actions": f'Use "entry" or "exit", or the actions of a transition. {_LOGIC}',
        "delays": _LOGIC,
        "context": "Only the root has a context.",
        "version": "Only the root has a version.",
        "options": "Only the root has options.",
        "schema": _V4 + 'it is called "schemas".',
        "strict": _V4 + "it is gone.",
        "delimiter": _V4 + "it is gone: a path is written with dots.",
        "preserveActionOrder": _V4 + "it is gone: actions always run in order.",
        "predictableActionArguments": _V4 + "it is gone: arguments are always predictable.",
    },
    Named: {"exec": _V4 + "actions are functions given to setup()."},
}
