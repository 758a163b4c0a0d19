"""Migrate snapshots written by an older version of a machine.

A migration is pure: from the JSON of a snapshot to the JSON of another. An instance is migrated when its next message
is processed, and stored in the new form together with the result of that message.

A machine without versions continues any snapshot whose active states it still has. A machine with versions reads only
its own and those that its migrations start from: while two versions are deployed at the same time, the older one must
not touch snapshots that the newer one has migrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from settled.chart.implementations import Implementations
from settled.errors import LogicError
from settled.validators import one_of

Migrate: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From a snapshot in XState's persisted form to one of the next version. It may modify its argument."""

TimersOnMigration: TypeAlias = Literal["restart", "keep"]


@frozen
class Migration:
    """A migration from one version to the next, and what to do with a running delay whose name changes with it.

    ``restart``: the delay of the active state takes its full time from now. ``keep``: it fires when the running delay
    would have, which is that of the same state, or else one of the same length.
    """

    function: Migrate
    timers: TimersOnMigration = field(  # pyright: ignore[reportAssignmentType] (it takes the default for any text)
        default="restart", validator=one_of("restart", "keep")
    )


def knows_version(implementations: Implementations, own: str | None, version: str | None) -> bool:
    """Return whether a machine of version `own` can read snapshots of `version`.

    None is from before there were versions.
    """
    return version is None or version == own or version in implementations.migrations


def keeps_timers(implementations: Implementations, version: str | None) -> bool:
    """Return whether a migration on the way from `version` keeps the time of running delays."""
    migrations = (migration for _, migration in _path_from(implementations, version))
    return any(isinstance(migration, Migration) and migration.timers == "keep" for migration in migrations)


def migrate_snapshot(
    implementations: Implementations, machine: str, data: Mapping[str, Any], version: str | None
) -> Mapping[str, Any]:
    """Return `data`, a snapshot that `version` wrote, after all migrations from that version on.

    Raises:
        LogicError: a migration raised.
    """
    path = _path_from(implementations, version)
    data = deepcopy(data) if path else data  # if a migration fails, what it has modified by then must not be kept
    for step, migration in path:
        migrate = migration.function if isinstance(migration, Migration) else migration
        try:
            data = migrate(dict(data))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise LogicError(f"{machine}: the migration from version {step} raised {problem}") from error
    return data


def _path_from(implementations: Implementations, version: str | None) -> list[tuple[str, Migrate | Migration]]:
    """Return the migrations from `version` on, with the version each starts from; they are registered in order."""
    steps = list(implementations.migrations.items())
    versions = [start for start, _ in steps]
    return steps[versions.index(version) :] if version in versions else []
