"""``settled run``: run the example in a folder.

Such a folder has a ``demo.py`` with a function ``play(backend)``. Its argument is the URL of a backend that several
processes can open. It prints what it does, and raises if the example does not end well.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Annotated

from cyclopts import Parameter

from settled_cli.arguments import BackendUrl
from settled_cli.errors import CommandError, UsageError
from settled_cli.loading import load_file
from settled_cli.output import print_line

FILE, FUNCTION = "demo.py", "play"


def run(
    folder: Annotated[str, Parameter(help="A folder that has a demo.py, such as examples/signup.")],
    /,
    *,
    backend: BackendUrl = None,
    keep: Annotated[bool, Parameter(negative="", help="Keep the SQLite file afterwards.")] = False,
) -> None:
    """Run the example in a folder, on a new SQLite file unless a backend is given."""
    file = Path(folder) / FILE
    if not file.is_file():
        raise UsageError(f"{folder} has no {FILE}. Name a folder that has one, such as examples/signup")
    play = getattr(load_file(file), FUNCTION, None)
    if not callable(play):
        raise UsageError(f"{file} has no function {FUNCTION}(backend). Write one that raises if it does not end well")
    # A folder, not just a file, because SQLite writes others (-wal, -shm) beside it.
    temporary = None if backend else Path(tempfile.mkdtemp(prefix="settled-"))
    url = backend or f"sqlite:///{temporary}/{Path(folder).resolve().name}.db"
    try:
        play(url)
    except Exception as error:
        raise CommandError(f"{folder}: {type(error).__name__}: {error}") from error
    finally:
        if temporary and not keep:
            rmtree(temporary)
    if temporary and keep:
        print_line(f"Kept: {url}")
