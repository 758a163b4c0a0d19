"""Backs up and restores backends, as far as their vendors do not.

An adapter that can do so registers a module as an entry point of the group ``settled.backups``, under each of its
schemes. How all backends are backed up, and what is to be known of a restored one, is in ``docs/backup.md``.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import Protocol, cast

from settled import BackendConfigError
from settled_runtime.url import without_credentials

GROUP = "settled.backups"


class BackupTool(Protocol):
    """The functions of the module that an adapter registers. Neither overwrites anything."""

    def backup(self, url: str, target: str | os.PathLike[str]) -> None:
        """Copy the backend at `url` to the new file `target`, while it is in use."""
        ...

    def restore(self, source: str | os.PathLike[str], url: str) -> None:
        """Make a new backend at `url` of the backup `source`. Its queue has a new epoch."""
        ...

    def renew_epoch(self, url: str) -> None:
        """Give the queue at `url` a new epoch, while no process has it open."""
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


def renew_epoch(url: str) -> None:
    """Give the queue of the backend at `url`, which was restored by other means, a new epoch. End its processes before.

    Raises:
        BackendConfigError: backends of this scheme have no epoch that can be renewed, or there is none at `url`.
        AccessDeniedError, RecordError, UnavailableError: as opening the backend would.
    """
    _tool(url).renew_epoch(url)


def _tool(url: str) -> BackupTool:
    for point in entry_points(group=GROUP, name=url.partition(":")[0]):
        return cast("BackupTool", point.load())
    names = ", ".join(sorted({f"{point.name}://" for point in entry_points(group=GROUP)}))
    raise BackendConfigError(
        f"{without_credentials(url)}: settled has no tools for this, only for {names}; see docs/backup.md for others"
    )
