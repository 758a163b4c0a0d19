"""``settled run``: play the example in a folder.

A folder that can be played has a ``demo.py`` with a function ``play(backend)``. It is given a backend's URL, which
any number of processes may open, and tells its story on standard output; it raises if the story did not end well.
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

FILE, FUNCTION = "demo.py", "play"


def run(
    folder: Annotated[str, Parameter(help="A folder that has a demo.py, such as examples/signup.")],
    /,
    *,
    backend: BackendUrl = None,
    keep: Annotated[bool, Parameter(negative="", help="Keep the SQLite file, to look at it afterwards.")] = False,
) -> None:
    """Play the example in a folder, on a fresh SQLite file unless another backend is named."""
    file = Path(folder) / FILE
    if not file.is_file():
        raise UsageError(f"{folder} has no {FILE}. Name a folder that can be played, such as examples/signup")
    play = getattr(load_file(file), FUNCTION, None)
    if not callable(play):
        raise UsageError(f"{file} has no function {FUNCTION}(backend). Write one that raises if it does not end well")
    own = None if backend else Path(tempfile.mkdtemp(prefix="settled-"))
    url = backend or f"sqlite:///{own}/{Path(folder).resolve().name}.db"
    try:
        play(url)
    except Exception as error:
        raise CommandError(f"{folder}: {type(error).__name__}: {error}") from error
    finally:
        if own and not keep:
            rmtree(own)
    if own and keep:
        print(f"Kept: {url}")
