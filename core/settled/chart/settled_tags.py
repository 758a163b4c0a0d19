"""Where a machine may rest: by three tags, its author says at which nodes it waits for the outside world.

``resolve`` and ``reject`` are ``settled`` too, and also say how the turn is answered. A machine that uses none of them
may rest anywhere.
"""

from __future__ import annotations

from functools import lru_cache

from settled.chart.chart import Chart
from settled.chart.nodes import Node

RESOLVE, REJECT, SETTLED = "resolve", "reject", "settled"
SETTLED_TAGS = frozenset({RESOLVE, REJECT, SETTLED})


@lru_cache(maxsize=64)
def uses_settled_tags(chart: Chart) -> bool:
    """Whether the machine uses the tags at all: asked after each step, and to be looked for only once."""
    return any(has_settled_tag(node) for node in chart.nodes)


def has_settled_tag(node: Node) -> bool:
    """Whether `node` itself, and not only an ancestor, says that the machine rests there."""
    return not SETTLED_TAGS.isdisjoint(node.tags)
