"""Migrations: from a snapshot that an older machine has written to one that the present machine can read.

A migration is pure, like everything a machine computes: the JSON of a snapshot goes in and comes out. An instance is
migrated when its next message is taken, and stored in its new form with what that message does to it.

Without a migration, a snapshot goes on in a changed machine if every state it is in is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from settled.errors import LogicError
from settled.logic import Logic

Migration: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From a snapshot in XState's persisted form to one of the next version. It may change what it is given."""


def migrated(logic: Logic, machine: str, data: Mapping[str, Any], version: str | None) -> Mapping[str, Any]:
    """`data`, written by `version`, after all the migrations from there on.

    Raises:
        LogicError: a migration raised.
    """
    versions = list(logic.migrations)
    if version not in versions:
        return data
    for each in versions[versions.index(version) :]:
        try:
            data = logic.migrations[each](dict(data))
        except Exception as error:
            raise LogicError(f"{machine}: the migration from version {each} raised {_named(error)}") from error
    return data


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
