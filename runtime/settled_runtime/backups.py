"""Backs up and restores the backends that have no tools of their own for it.

An adapter that can do so registers a module as an entry point of the group ``settled.backups``, under each of its
schemes. How all backends are backed up, and what is to be known of a restored one, is in ``docs/backup.md``.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import Protocol, cast

from settled import BackendConfigError
from settled_runtime.url import without_password

GROUP = "settled.backups"


class BackupTool(Protocol):
    """The functions of the module that an adapter registers. Neither overwrites anything."""

    def backup(self, url: str, target: str | os.PathLike[str]) -> None:
        """Copy the backend at `url` to the new file `target`, while it is in use."""
        ...

    def restore(self, source: str | os.PathLike[str], url: str) -> None:
        """Make a new backend at `url` of the backup `source`. Its queue has a new epoch."""
        ...


def backup(url: str, target: str | os.PathLike[str]) -> None:
    """Copy the backend at `url` to the new file `target`, while it is in use.

    Raises:
        BackendConfigError: backends of this scheme have tools of their own for this, or `target` exists; or the backend
            cannot be used as configured.
        RecordError: the backend belongs to another application, or is damaged.
        UnavailableError: nothing was copied.
    """
    _tool(url).backup(url, target)


def restore(source: str | os.PathLike[str], url: str) -> None:
    """Make a new backend at `url` of the backup `source`.

    Raises:
        BackendConfigError: backends of this scheme have tools of their own for this; or there is a backend at `url`; or
            it cannot be used as configured.
        RecordError: `source` is not a backup, or is damaged.
        UnavailableError: nothing was restored.
    """
    _tool(url).restore(source, url)


def _tool(url: str) -> BackupTool:
    for point in entry_points(group=GROUP, name=url.partition(":")[0]):
        return cast("BackupTool", point.load())
    names = ", ".join(sorted({f"{point.name}://" for point in entry_points(group=GROUP)}))
    raise BackendConfigError(
        f"{without_password(url)}: is backed up with the tools of its vendor, as docs/backup.md says; settled has its "
        f"own for {names}"
    )
