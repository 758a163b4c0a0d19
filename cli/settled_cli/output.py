"""How a command answers: JSON for scripts, a table or a few lines for people.

People see what fits their terminal; into a pipe nothing is cut off.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_PIPE = 10_000


def print_json(value: Any) -> None:
    """Print `value` as JSON, whole and indented."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print `rows` under `titles`, or that there are none."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 (not for scripts)
    from rich.table import Table  # noqa: PLC0415 (as above)
    from rich.text import Text  # noqa: PLC0415 (as above)

    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table if table.rows else "none")


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print named values below each other; what has none is left out."""
    from rich.text import Text  # noqa: PLC0415 (not for scripts)

    console = _console()
    for name, value in facts:
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            console.print(Text.assemble((f"{name:<9}", "dim"), text), soft_wrap=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 (not for scripts)

    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, file=sys.stdout)
