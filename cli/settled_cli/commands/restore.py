"""``settled restore``: make a backend of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from settled import BackendRefusedError, RecordError
from settled_cli.backend import as_url
from settled_cli.errors import UsageError
from settled_cli.output import print_line
from settled_runtime.backups import restore


def restore_backup(
    source: Annotated[Path, Parameter(help="What `settled backup` wrote. It stays as it is.")],
    target: Annotated[str, Parameter(help="The new SQLite file, or its URL. One that exists is not overwritten.")],
    /,
) -> None:
    """Make a new backend of a backup. Stop all workers and clients before, and start them after it."""
    try:
        restore(source, as_url(target))
    except (BackendRefusedError, RecordError) as error:
        raise UsageError(str(error)) from error
    print_line(f"{target}: restored from {source}. What happened after the backup is gone: see docs/backup.md")
