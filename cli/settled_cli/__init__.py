"""The `settled` command.

The law of this package: it parses arguments, reads files, calls `settled` and `settled_runtime`, and prints. It
contains no other logic, so a program can do whatever a command does, in as few lines.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        # Imported here because cyclopts comes with the extra `cli`: without it, say in one line how to install it.
        from settled_cli.app import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(f"settled: {error.name} is not installed. Try: pip install 'settled[cli]'")
    sys.exit(run(sys.argv[1:]))
