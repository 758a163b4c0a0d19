"""Read a config from JSON text or a mapping. cattrs does the walking; the hooks here add XState's shorthands.

The schema is in `settled.chart.config`; the texts for invalid configs are in `settled.chart.config_problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from attrs import fields, has

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
from settled.chart.config_problems import ConfigValueError, problems_in, suggest_one_of
from settled.chart.config_values import json_key, value_problems
from settled.data import Json, freeze, is_array, is_object, parse_strictly, write
from settled.errors import DefinitionError, DefinitionProblem

if TYPE_CHECKING:
    from cattrs import Converter


def config_from(source: str | Mapping[str, Any]) -> MachineConfig:
    """Return the config in `source`, a JSON text or a mapping.

    Raises:
        DefinitionError: the config is invalid; the error lists every problem.
    """
    given: Any = _parse(source) if isinstance(source, str) else source
    if not is_object(given):
        raise DefinitionError([DefinitionProblem("", f"a machine is a JSON object, not {_describe(given)}")])
    if wrong := list(value_problems(given)):
        raise DefinitionError(wrong)
    whole: Any = freeze(in_javascript_order(given))
    own = {key: value for key, value in whole.items() if key in _ROOT_ONLY_KEYS}
    plain = {key: value for key, value in whole.items() if key not in own}
    problems: list[DefinitionProblem] = []
    root = _structure(plain, StateConfig, problems)
    if root is not None and root.id == "":
        remedy = 'Leave it out, and the id is "(machine)", or give one.'
        problems.append(DefinitionProblem("id", "the machine's id is empty", remedy))
    options = _structure({} if own.get("options") is None else own["options"], OptionsConfig, problems, "options")
    version = own.get("version")
    if version is not None and not isinstance(version, str):
        problems.append(DefinitionProblem("version", f"expected text, not {_describe(version)}"))
    if problems or root is None or options is None:
        raise DefinitionError(problems)
    context = own.get("context")
    return MachineConfig(
        root=root,
        id=root.id or "(machine)",
        fingerprint=_fingerprint(whole),
        version=version,
        context=freeze({}) if context is None else context,
        options=options,
    )


_ROOT_ONLY_KEYS = ("context", "version", "options", "schemas", "types")


def in_javascript_order(value: Any) -> Any:
    """Return `value` with all keys in the order of JavaScript's objects: integer-like ones first, ascending.

    Document order, and with it the choice between transitions, must be the same as in XState.
    """
    if is_object(value):
        items = {json_key(key): in_javascript_order(item) for key, item in value.items()}
        return dict(sorted(items.items(), key=lambda item: _sort_key(item[0])))
    return [in_javascript_order(item) for item in value] if is_array(value) else value


_MAX_ARRAY_INDEX = 2**32 - 2
"""The largest integer that JavaScript treats as an array index, and so sorts numerically."""


def _sort_key(key: str) -> tuple[bool, int]:
    # The length first: Python refuses to convert text of some thousands of digits.
    is_short_number = len(key) <= len(str(_MAX_ARRAY_INDEX)) and key.isascii() and key.isdigit()
    is_index = is_short_number and str(int(key)) == key and int(key) <= _MAX_ARRAY_INDEX
    return (False, int(key)) if is_index else (True, 0)


def _parse(text: str) -> Any:
    try:
        return parse_strictly(text)
    except ValueError as error:
        raise DefinitionError([DefinitionProblem("", f"not JSON: {error}")]) from error


def _fingerprint(source: Mapping[str, Any]) -> str:
    # A lone surrogate is valid in JSON, so it must not raise here.
    return sha256(write(_without_functions(source)).encode("utf-8", "surrogatepass")).hexdigest()


def _without_functions(value: Any) -> Json:
    """Return `value` as JSON, with each function replaced by its module and name.

    The result must be the same in every process. So it cannot tell two lambdas of one scope apart.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case _ if is_object(value):
            return {key: _without_functions(item) for key, item in value.items()}
        case _ if is_array(value):
            return [_without_functions(item) for item in value]
        case _ if has(kind := value.__class__):
            values = {each.name: _without_functions(getattr(value, each.name)) for each in fields(kind)}
            return {"$": kind.__qualname__, **values}
        case _:
            return {"$": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"}


def _structure(value: Any, into: type[T], problems: list[DefinitionProblem], path: str = "") -> T | None:
    converter = _converter()
    try:
        return converter.structure(value, into)
    except Exception as error:
        problems.extend(problems_in(error, path))
        return None


@cache
def _converter() -> Converter:
    # Importing cattrs takes half of the time of importing settled, so it waits until a config is read.
    from cattrs import Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    converter = Converter(use_alias=True, forbid_extra_keys=True)
    by_predicate = converter.register_structure_hook_func

    # cattrs tries the predicate registered last first, so `_history`, whose type is optional, comes after `_optional`.
    by_predicate(_is_single_or_array, lambda value, kind: _single_or_array(converter, value, kind))
    by_predicate(_is_mapping, lambda value, kind: _mapping(converter, value, kind))
    by_predicate(_is_optional, lambda value, kind: _optional(converter, value, kind))
    by_predicate(_exactly(Reference), lambda value, _: _reference(converter, value))
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(int, _iterations)
    by_predicate(_exactly(tuple[str, ...]), lambda value, _: _strings(value))
    by_predicate(_exactly(NodeType), _node_type)
    by_predicate(_exactly(Literal["shallow", "deep"] | None), _history)
    for into in (Named, TransitionConfig, RouteConfig, InitialConfig, InvokeConfig, StateConfig, OptionsConfig):
        converter.register_structure_hook(into, _reader(make_dict_structure_fn(into, converter), into))
    return converter


def _exactly(wanted: Any) -> Callable[[Any], bool]:
    return lambda kind: bool(kind == wanted)


def _reader(read_object: Callable[[Mapping[str, Any], Any], T], into: type[T]) -> Callable[[Any, Any], T]:
    expand = _EXPANSIONS.get(into, lambda value: value)
    return lambda value, _: read_object(_object(expand(value)), into)


def _expand_transition(value: Any) -> Any:
    match value:
        case None:  # JSON has no `undefined`, which XState takes for a transition that forbids its event
            return {}
        case str():
            return {"target": value}
        case _:
            return value


_EXPANSIONS: Mapping[type, Callable[[Any], Any]] = {
    TransitionConfig: _expand_transition,
    InitialConfig: lambda value: {"target": value} if isinstance(value, str) else value,
    InvokeConfig: lambda value: {"src": value} if isinstance(value, str) or callable(value) else value,
}
"""From a shorthand to the object that it is short for; anything else is returned as it is."""


def _object(value: Any) -> Mapping[str, Any]:
    if not is_object(value):
        raise ConfigValueError(f"expected an object, not {_describe(value)}")
    return value


def _is_single_or_array(kind: Any) -> bool:
    return get_origin(kind) is SingleOrArray


def _single_or_array(converter: Converter, value: Any, kind: Any) -> SingleOrArray[Any]:
    (item,) = get_args(kind)
    if isinstance(value, list):
        items: Any = list[item]  # type: ignore[valid-type] # made of a type at run time
        return SingleOrArray(tuple(converter.structure(value, items)))
    # A null transition forbids its event; for anything else null means that there is none.
    if value is None and item is not TransitionConfig:
        return EMPTY
    return SingleOrArray((converter.structure(value, item),), was_array=False)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _mapping(converter: Converter, value: Any, kind: Any) -> Mapping[str, Any]:
    key, item = get_args(kind)
    items: Any = dict[key, item]  # type: ignore[valid-type] # made of a type at run time
    return cast("Mapping[str, Any]", converter.structure({} if value is None else _object(value), items))


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _optional(converter: Converter, value: Any, kind: Any) -> Any:
    """Read an optional key: null means absent, and so does an empty target."""
    inner: list[Any] = [each for each in get_args(kind) if each is not type(None)]
    if value is None or (value == "" and inner == [SingleOrArray[str]]):
        return None
    # The only optional union is a guard, `Named | Inline | None`.
    return converter.structure(value, inner[0] if len(inner) == 1 else cast("Any", Reference))


def _reference(converter: Converter, value: Any) -> Reference:
    match value:
        case str():
            return Named(value)
        case Mapping():
            return converter.structure(value, Named)
        case bool() | int() | float() | list() | None:
            raise ConfigValueError(f"expected a name, an object with a type, or a function, not {_describe(value)}")
        case _:
            return Inline(value)


def _string(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ConfigValueError(f"expected text, not {_describe(value)}")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(_string(item, str) for item in (value if is_array(value) else [value]))


def _boolean(value: Any, _: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ConfigValueError(f"expected true or false, not {_describe(value)}")
    return bool(value)


MAX_MAX_ITERATIONS = 100_000
"""The largest ``maxIterations``: a step of so many microsteps takes seconds, and its worker does nothing else."""


def _iterations(value: Any, _: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_MAX_ITERATIONS:
        remedy = "If a step has to take so many, wait for an event or a delay on the way."
        expected = f"a whole number above zero, and at most {MAX_MAX_ITERATIONS}"
        raise ConfigValueError(f"expected {expected}, not {_describe(value)}", remedy)
    return value


def _node_type(value: Any, _: Any) -> str:
    known = get_args(NodeType)
    if value not in known:
        raise ConfigValueError(f"no such state type: {value!r}", suggest_one_of(str(value), known))
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
            raise ConfigValueError(f"no such history type: {value!r}", "A history is shallow (true) or deep.")


def _describe(value: Any) -> str:
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
