"""``settled new-epoch``: tell a backend that it was restored."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from settled import BackendRefusedError, RecordError
from settled_cli.backend import as_url
from settled_cli.errors import UsageError
from settled_runtime.backups import renew_epoch


def new_epoch(
    backend: Annotated[str, Parameter(help="The URL of the backend, or an SQLite file.")],
    /,
) -> None:
    """Number messages anew in a backend that was restored by its vendor's tools, or has lost some of its keys.

    Stop all workers and clients before.
    """
    try:
        renew_epoch(as_url(backend))
    except (BackendRefusedError, RecordError) as error:
        raise UsageError(str(error)) from error
    print("the queue has a new epoch: positions of messages from before are not compared with those from now on")
