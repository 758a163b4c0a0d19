"""Where a machine may rest: by three tags, its author says at which nodes it waits for the outside world.

``resolve`` and ``reject`` are ``settled`` too, and also say how the turn is answered. A machine that uses none of them
may rest anywhere.
"""

from __future__ import annotations

from functools import lru_cache

from settled.chart.chart import Chart
from settled.chart.nodes import Node

RESOLVE, REJECT, SETTLED = "resolve", "reject", "settled"
RESTING = frozenset({RESOLVE, REJECT, SETTLED})


@lru_cache(maxsize=64)
def says_where_it_rests(chart: Chart) -> bool:
    """Whether the machine uses the tags at all: asked after each step, and to be looked for only once."""
    return any(is_tagged(node) for node in chart.nodes)


def is_tagged(node: Node) -> bool:
    """Whether `node` itself, and not only an ancestor, says that the machine rests there."""
    return not RESTING.isdisjoint(node.tags)
