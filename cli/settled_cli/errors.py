"""Two ways to fail: what was typed is at fault, or what was found."""

from __future__ import annotations


class UsageError(Exception):
    """The command cannot be carried out as it was typed. Exit status 2."""


class CommandError(Exception):
    """The command was understood, and did not succeed. Exit status 1."""
