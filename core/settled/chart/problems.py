"""Parts of the text of a `DefinitionProblem`: paths in a config, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable


def join_path(path: str, key: str) -> str:
    """Return the path of `key` in the object at `path`; the root's path is empty."""
    return f"{path}.{key}" if path else key


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a suggestion of the name in `known` that is most like `word`; None if none is close."""
    # difflib imports slowly, and only an invalid config needs it.
    from difflib import get_close_matches  # noqa: PLC0415

    close = get_close_matches(word, list(known), n=1)
    return f'Did you mean "{close[0]}"?' if close else None
