"""The tags that mark the nodes where a machine waits for the outside world, and so where a turn may end.

``resolve`` and ``reject`` imply ``settled``, and also set the outcome of the turn. A machine that uses none of the
three tags may rest in any state.
"""

from __future__ import annotations

from functools import lru_cache

from settled.chart.chart import Chart
from settled.chart.nodes import Node

RESOLVE, REJECT, SETTLED = "resolve", "reject", "settled"
SETTLED_TAGS = frozenset({RESOLVE, REJECT, SETTLED})


@lru_cache(maxsize=64)
def uses_settled_tags(chart: Chart) -> bool:
    """Return whether the machine uses the tags at all."""
    return any(has_settled_tag(node) for node in chart.nodes)


@lru_cache(maxsize=64)
def resting_leaves(chart: Chart) -> frozenset[Node]:
    """Return the leaves that may rest by their own: final ones, and those with a tag on them or on an ancestor."""
    return frozenset(
        node
        for node in chart.nodes
        if node.type == "final" or any(has_settled_tag(each) for each in (node, *node.ancestors))
    )


def has_settled_tag(node: Node) -> bool:
    """Return whether `node` itself, and not only an ancestor, has one of the tags."""
    return not SETTLED_TAGS.isdisjoint(node.tags)
