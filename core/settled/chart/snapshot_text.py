"""Convert snapshots to text and back, faster than through JSON.

The text of most snapshots differs only in configuration and context. So the prefix of the text, up to the context, is
cached for each configuration, and recognised later without being parsed. Text of any other form, such as XState's, and
snapshots with children, history or output take the slow path through JSON.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field

from settled.chart.chart import MAX_CONFIGURATIONS, Chart, Configuration
from settled.chart.implementations import Implementations
from settled.chart.nodes import Node
from settled.chart.snapshot import NO_CHILDREN, NO_HISTORY, NewSnapshot, Snapshot, to_json
from settled.data import ABSENT, freeze, parse_at, write, write_object
from settled.errors import LogicError
from settled.frozen_data import FrozenDict

_CONTEXT: Final = ',"context":'
_SUFFIX: Final = ',"children":{},"historyValue":{}}'


@define(eq=False)
class SnapshotText:
    """The text of snapshots of `chart`, with the prefixes seen so far."""

    chart: Chart
    implementations: Implementations
    _prefixes: dict[frozenset[Node], str] = field(factory=dict[frozenset[Node], str], init=False)
    _configurations: dict[str, Configuration] = field(factory=dict[str, Configuration], init=False)

    def write(self, snapshot: Snapshot[Any]) -> str:
        """Return `snapshot` as the text of XState's persisted form.

        Raises:
            LogicError: the context is not JSON; the message says where in it.
        """
        try:
            return self._write(snapshot)
        except Exception as error:
            raise LogicError(f"{self.chart.id}: {error}") from error

    def _write(self, snapshot: Snapshot[Any]) -> str:
        # Most contexts are JSON, and need not go through cattrs.
        plain = (
            snapshot.context
            if isinstance(snapshot.context, FrozenDict)
            else self.implementations.plain_context(snapshot.context)
        )
        context = write_object(plain)
        if (
            context is None  # not JSON: the slow path raises, with the path of the value
            or snapshot.status != "active"
            or snapshot.children
            or snapshot.history
            or snapshot.output is not ABSENT
            or snapshot.error is not ABSENT
        ):
            return write(to_json(snapshot, self.implementations.context_to_json(snapshot.context)))
        configuration = snapshot.configuration
        prefix = self._prefixes.get(configuration.members) or self.learn(configuration)
        return f"{prefix}{context}{_SUFFIX}"

    def read(self, text: str) -> Snapshot[Any] | None:
        """Return the snapshot in `text`, or None if only the slow path can read it."""
        # A state named "context" makes this find a part of the value. That prefix was never learned, so it is slow
        # but not wrong.
        begin = text.find(_CONTEXT) + len(_CONTEXT)
        configuration = self._configurations.get(text[:begin])
        if configuration is None:
            return None
        try:
            context, end = parse_at(text, begin)
            context = (
                freeze(context) if self.implementations.context is dict else self.implementations.read_context(context)
            )
        except Exception:
            return None  # the slow path fails as well, with a proper error
        if text[end:] != _SUFFIX:
            return None
        return NewSnapshot(configuration, context, "active", ABSENT, ABSENT, NO_CHILDREN, NO_HISTORY)

    def learn(self, configuration: Configuration) -> str:
        """Cache and return the prefix of texts with `configuration`."""
        prefix = write({"status": "active", "value": configuration.value})[:-1] + _CONTEXT
        if len(self._prefixes) >= MAX_CONFIGURATIONS:
            self._prefixes.clear()
            self._configurations.clear()
        self._prefixes[configuration.members] = prefix
        # Not `configuration` itself: that of a failed start has only the root, but the value of its default entry.
        self._configurations[prefix] = self.chart.resolve(configuration.value)
        return prefix
