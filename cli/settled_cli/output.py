"""How commands print: JSON for scripts, a table or a few lines for users.

Tables are fitted to the width of a terminal. In a pipe nothing is cut off. Names, events and contexts come from others:
whatever is not printable in them is printed as an escape, or it could forge lines and drive the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from settled.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 10_000
"""The width of a table that is not printed to a terminal, in characters: more than any row has."""


def print_line(text: str) -> None:
    """Print `text` on one line."""
    print(printable(text))


def print_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # What is not printable stands only in strings, but for the line breaks between them.
    print("\n".join(map(_printable_json, text.split("\n"))))


def _printable_json(line: str) -> str:
    return line if line.isprintable() else "".join(e if e.isprintable() else json.dumps(e)[1:-1] for e in line)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print `rows` under `titles`, or ``none`` without rows."""
    # rich takes longer to import than everything else here, and scripts, which use --json, do not need it.
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # as Text: a str would be parsed as rich's markup
    _console().print(table if table.rows else "none")


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print one line for each name and value, without those that are empty."""
    from rich.text import Text  # noqa: PLC0415 (slow, see `print_table`)

    console = _console()
    for name, value in facts:
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            console.print(Text.assemble((f"{name:<9}", "dim"), printable(text)), soft_wrap=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 (slow, see `print_table`)

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, file=sys.stdout)
