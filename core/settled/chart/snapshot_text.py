"""Snapshots as text, and back.

Most of such a text says where the machine is, and a machine can only be in so many places. So what a text begins with
is written once for each configuration, and recognised after that without being read. What is left is the context,
and the few things that most snapshots do not have. A text of any other form, such as one that XState wrote, is for the
long way, over JSON.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field

from settled.chart.chart import MAX_CONFIGURATIONS, Chart, Configuration
from settled.chart.implementations import Implementations
from settled.chart.nodes import Node
from settled.chart.snapshot import NO_CHILDREN, NO_HISTORY, NewSnapshot, Snapshot, to_json
from settled.data import ABSENT, parse_at, write, write_object

_CONTEXT: Final = ',"context":'
_END: Final = ',"children":{},"historyValue":{}}'


@define(eq=False)
class SnapshotText:
    """How the texts of snapshots in `chart` begin, up to the context, by configuration and back."""

    chart: Chart
    implementations: Implementations
    _beginnings: dict[frozenset[Node], str] = field(factory=dict[frozenset[Node], str], init=False)
    _configurations: dict[str, Configuration] = field(factory=dict[str, Configuration], init=False)

    def write(self, snapshot: Snapshot[Any]) -> str:
        """`snapshot` as XState persists it.

        Raises:
            LogicError: the context is not JSON; the message says where in it.
        """
        plain = (
            snapshot.context
            if snapshot.context.__class__ is dict
            else self.implementations.plain_context(snapshot.context)
        )
        context = write_object(plain)
        if (
            context is None
            or snapshot.status != "active"
            or snapshot.children
            or snapshot.history
            or snapshot.output is not ABSENT
            or snapshot.error is not ABSENT
        ):
            return write(to_json(snapshot, self.implementations.context_to_json(snapshot.context)))
        configuration = snapshot.configuration
        beginning = self._beginnings.get(configuration.members) or self.learn(configuration)
        return f"{beginning}{context}{_END}"

    def read(self, text: str) -> Snapshot[Any] | None:
        """The snapshot in `text`, if that is as `write` has it for an active machine without anything special."""
        begin = text.find(_CONTEXT) + len(_CONTEXT)
        configuration = self._configurations.get(text[:begin])
        if configuration is None:
            return None
        try:
            context, end = parse_at(text, begin)
            if self.implementations.context is not None:
                context = self.implementations.read_context(context)
        except Exception:
            return None  # the long way fails as well, and says how
        if text[end:] != _END:
            return None
        return NewSnapshot(configuration, context, "active", ABSENT, ABSENT, NO_CHILDREN, NO_HISTORY)

    def learn(self, configuration: Configuration) -> str:
        """Know from now on how a text begins that has `configuration`."""
        beginning = write({"status": "active", "value": configuration.value})[:-1] + _CONTEXT
        if len(self._beginnings) >= MAX_CONFIGURATIONS:
            self._beginnings.clear()
            self._configurations.clear()
        self._beginnings[configuration.members] = beginning
        self._configurations[beginning] = self.chart.resolve(configuration.value)
        return beginning
