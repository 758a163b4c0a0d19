"""Problems of an invalid config: from the exceptions that cattrs raises to paths, texts and remedies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import fields

from settled.chart.config import InvokeConfig, Named, OptionsConfig, StateConfig, TransitionConfig
from settled.chart.problems import did_you_mean, join_path, listed
from settled.errors import DefinitionProblem


class ConfigValueError(ValueError):
    """A value in a config is invalid. Its path is not known yet: cattrs adds that while the exception propagates."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def problems_in(error: BaseException, path: str) -> Iterator[DefinitionProblem]:
    """Yield the problems in `error`, which cattrs raised for the value at `path`.

    It is a tree of exceptions, whose notes hold the attribute or index where each was raised.
    """
    from cattrs import BaseValidationError, ForbiddenExtraKeysError  # noqa: PLC0415 (slow to import)

    match error:
        case BaseValidationError():
            for inner in error.exceptions:
                yield from problems_in(inner, _path_of(inner, path))
        case ForbiddenExtraKeysError():
            for key in sorted(error.extra_fields):
                yield DefinitionProblem(join_path(path, key), "no such key", _unknown_key_remedy(error.cl, key))
        case KeyError():
            yield DefinitionProblem(path, f"{error.args[0]!r} is missing")
        case ConfigValueError():
            yield DefinitionProblem(path, error.problem, error.remedy)
        case _:
            yield DefinitionProblem(path, str(error))


def _path_of(error: BaseException, path: str) -> str:
    """Return the path of `error`, which is inside the value at `path`."""
    from cattrs import AttributeValidationNote, IterableValidationNote  # noqa: PLC0415 (slow to import)

    for note in getattr(error, "__notes__", ()):
        match note:
            # A KeyError is a missing key, which belongs to the object and not to an attribute of it.
            case AttributeValidationNote() if not isinstance(error, KeyError):
                return join_path(path, _KEYS.get(note.name, note.name))
            case IterableValidationNote() if isinstance(note.index, int):
                return f"{path}[{note.index}]"
            case IterableValidationNote():
                return join_path(path, str(note.index))
            case _:
                pass
    return path


_KEYS: Mapping[str, str] = {
    item.name: item.alias or item.name for into in (InvokeConfig, StateConfig, OptionsConfig) for item in fields(into)
}
"""The keys of a config by the names of the attributes that hold their values."""


def _unknown_key_remedy(into: type[Any], key: str) -> str:
    known = [item.alias or item.name for item in fields(into)]
    return _REMEDIES.get(into, {}).get(key) or suggest_one_of(key, known)


def suggest_one_of(word: str, known: Sequence[str]) -> str:
    """Return a suggestion of the name in `known` that is most like `word`, or a list of them if none is close."""
    return did_you_mean(word, known) or f"Known names: {listed(known)}."


_V4 = "This is XState v4. In v5 "
_IMPLEMENTATIONS = "Implementations are not part of a config: pass them to setup()."
_REMEDIES: Mapping[type[Any], Mapping[str, str]] = {
    TransitionConfig: {
        "cond": _V4 + 'it is called "guard".',
        "in": _V4 + 'use the guard "xstate.stateIn".',
        "internal": _V4 + 'transitions are internal unless "reenter" is true.',
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
        "internal": _V4 + 'transitions are internal unless "reenter" is true.',
        "services": _V4 + "they are called actors. " + _IMPLEMENTATIONS,
        "actors": _IMPLEMENTATIONS,
        "guards": _IMPLEMENTATIONS,
        "actions": f'Use "entry" or "exit", or the actions of a transition. {_IMPLEMENTATIONS}',
        "delays": _IMPLEMENTATIONS,
        "context": "Only the root has a context.",
        "version": "Only the root has a version.",
        "options": "Only the root has options.",
        "schema": _V4 + 'it is called "schemas".',
        "strict": _V4 + "there is none.",
        "delimiter": _V4 + "there is none: a path is written with dots.",
        "preserveActionOrder": _V4 + "there is none: actions always run in order.",
        "predictableActionArguments": _V4 + "there is none: arguments are always predictable.",
    },
    Named: {"exec": _V4 + "actions are functions passed to setup()."},
}
