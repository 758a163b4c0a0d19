"""The `settled` command.

The law of this package: it reads files and arguments, and prints. Whatever it can do, a program can do with
`settled` and `settled_runtime`, in as few lines.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        from settled_cli.app import run  # noqa: PLC0415 (without the extra's packages there is only the line below)
    except ModuleNotFoundError as error:
        sys.exit(f"settled: {error.name} is not installed. Try: pip install 'settled[cli]'")
    sys.exit(run(sys.argv[1:]))
