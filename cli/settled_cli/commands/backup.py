"""``settled backup``: copy a backend while it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from settled import BackendRefusedError, RecordError
from settled_cli.backend import as_url
from settled_cli.errors import UsageError
from settled_cli.output import print_line
from settled_runtime.backups import backup


def back_up(
    source: Annotated[str, Parameter(help="The SQLite file, or its URL. Workers may be using it.")],
    target: Annotated[Path, Parameter(help="The new file. One that exists is not overwritten.")],
    /,
) -> None:
    """Copy a backend to one new file, while workers use it."""
    try:
        backup(as_url(source), target)
    except (BackendRefusedError, RecordError) as error:
        raise UsageError(str(error)) from error
    print_line(f"{target}: a whole copy, as of this moment. To use it: settled restore {target} NEW-FILE")
