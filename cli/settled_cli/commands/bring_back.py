"""``settled bring-back``: send the messages that were set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from settled_cli.arguments import BackendUrl, CodecName
from settled_cli.backend import open_backend
from settled_cli.errors import UsageError
from settled_cli.set_aside import bring_back


def bring_back_messages(
    file: Annotated[Path, Parameter(help="What `settled set-aside` wrote.")],
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
) -> None:
    """Send the messages in a file, before those that wait now. Then the file is renamed to FILE.sent."""
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    with open_backend(url, codec) as backend:
        count = bring_back(backend, file)
    print(f"{count} {'message' if count == 1 else 'messages'} sent")
