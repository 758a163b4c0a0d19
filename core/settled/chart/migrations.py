"""Migrations: from a snapshot that an older machine has written to one that the present machine can read.

A migration is pure, like everything a machine computes: the JSON of a snapshot goes in and comes out. An instance is
migrated when its next message is taken, and stored in its new form with what that message does to it.

Where no version is declared, a snapshot goes on in a changed machine if every state it is in is still there. Once there
are versions, a machine takes only its own and those its migrations start from: while two versions are deployed side by
side, the older one must not touch what the newer one has migrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import frozen

from settled.chart.implementations import Implementations
from settled.errors import LogicError

Migrate: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From a snapshot in XState's persisted form to one of the next version. It may change what it is given."""

TimersOnMigration: TypeAlias = Literal["restart", "keep"]


@frozen
class Migration:
    """A step from one version to the next, and what becomes of a running delay whose name changes with it.

    ``restart``: the delay of the active state takes its full time from now. ``keep``: it is over when the one is that
    was running, of the same state or else of the same length.
    """

    function: Migrate
    timers: TimersOnMigration = "restart"


def knows_version(logic: Implementations, own: str | None, version: str | None) -> bool:
    """Whether a machine of the version `own` can read what `version` has written. None: before there were versions."""
    return version is None or version == own or version in logic.migrations


def keeps_timers(logic: Implementations, version: str | None) -> bool:
    """Whether a migration on the way from `version` keeps the time of running delays."""
    versions = list(logic.migrations)
    path = versions[versions.index(version) :] if version in versions else []
    return any(isinstance(each := logic.migrations[it], Migration) and each.timers == "keep" for it in path)


def migrated(logic: Implementations, machine: str, data: Mapping[str, Any], version: str | None) -> Mapping[str, Any]:
    """`data`, written by `version`, after all the migrations from there on.

    Raises:
        LogicError: a migration raised.
    """
    versions = list(logic.migrations)
    if version not in versions:
        return data
    for each in versions[versions.index(version) :]:
        try:
            data = _function(logic.migrations[each])(dict(data))
        except Exception as error:
            raise LogicError(f"{machine}: the migration from version {each} raised {_named(error)}") from error
    return data


def _function(migration: Migrate | Migration) -> Migrate:
    return migration.function if isinstance(migration, Migration) else migration


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
