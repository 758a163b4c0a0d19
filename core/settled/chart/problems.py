"""Parts of the text of a `DefinitionProblem`: paths in a config, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice


def join_path(path: str, key: str) -> str:
    """Return the path of `key` in the object at `path`; the root's path is empty."""
    return f"{path}.{key}" if path else key


_MAX_LISTED, _MAX_COMPARED, _MAX_NAME = 20, 200, 100
"""How many names are listed or compared, and how long they may be: a config may have thousands, each long, and wrong.

Without limits, the time and the text would grow with the square of a config.
"""


def listed(names: Collection[str]) -> str:
    """Return the first of `names` as a list, and how many more there are."""
    more = f", and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(islice(names, _MAX_LISTED)) + more


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a suggestion of the name in `known` that is most like `word`; None if none is close."""
    # difflib imports slowly, and only an invalid config needs it.
    from difflib import get_close_matches  # noqa: PLC0415

    if len(word) > _MAX_NAME:
        return None
    names = [name for name in islice(known, _MAX_COMPARED) if len(name) <= _MAX_NAME]
    close = get_close_matches(word, names, n=1)
    return f'Did you mean "{close[0]}"?' if close else None
