"""``settled set-aside``: take the waiting messages of a machine out of the queue, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from settled_cli.arguments import BackendUrl, CodecName
from settled_cli.backend import open_backend
from settled_cli.output import print_line
from settled_cli.set_aside import set_aside


def set_aside_messages(
    machine: Annotated[str, Parameter(help="The id of the machine. Its code is not needed.")],
    file: Annotated[Path, Parameter(help="Where to write them, one JSON object a line; they are appended.")],
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
) -> None:
    """Move the waiting messages of a machine from the queue to a file. Its instances and timers stay as they are."""
    with open_backend(url, codec) as backend:
        count = set_aside(backend, machine, file)
    print_line(f"{count} {'message' if count == 1 else 'messages'} set aside in {file}")
