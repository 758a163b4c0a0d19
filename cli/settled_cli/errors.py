"""The ways in which a command fails, by exit status."""

from __future__ import annotations


class UsageError(Exception):
    """The command line cannot be carried out as given. Exit status 2."""


class CommandError(Exception):
    """The command was understood, but did not succeed. Exit status 1."""


class EventIgnoredError(CommandError):
    """The event was processed, and changed nothing. Exit status 3."""
