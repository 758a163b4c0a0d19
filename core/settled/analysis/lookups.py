"""Look-ups in the nodes of a chart: without them, the checks would compare each node with every other one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import frozen

from settled.chart.nodes import Node, is_wildcard

T = TypeVar("T")


@frozen
class Marked(Generic[T]):
    """Some nodes of a chart, each with a value.

    Attributes:
        orders: the `Node.order` of each, ascending.
        values: the value of each, by its order.
    """

    orders: tuple[int, ...]
    values: Mapping[int, T]

    def around(self, node: Node) -> bool:
        """Return whether one of the nodes may be active together with `node`: itself, an ancestor, or one beside it."""
        return any(each.order in self.values for each in (node, *node.ancestors)) or self.beside(node)

    def beside(self, node: Node) -> bool:
        """Return whether one of the nodes is in another region, and may be active together with `node`."""
        return any(
            self._count(parallel.order + 1, parallel.last_order) > self._count(region.order, region.last_order)
            for parallel, region in _regions_with(node)
        )

    def value_beside_before(self, node: Node) -> T | None:
        """Return the value of the last one in a region before that of `node`, of the outermost parallel node first."""
        for parallel, region in reversed([*_regions_with(node)]):
            last = bisect_left(self.orders, region.order) - 1
            if last >= 0 and self.orders[last] > parallel.order:
                return self.values[self.orders[last]]
        return None

    def _count(self, first: int, last: int) -> int:
        return bisect_right(self.orders, last) - bisect_left(self.orders, first)


def marked(values: Iterable[tuple[Node, T]]) -> Marked[T]:
    """Return the nodes of `values` as marked with their values; of several for a node the last one counts."""
    by_order = {node.order: value for node, value in values}
    return Marked(tuple(sorted(by_order)), by_order)


def _regions_with(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield each parallel node that `node` is in, and the region that it is in; the nearest first."""
    region = node
    for ancestor in node.ancestors:
        if ancestor.type == "parallel":
            yield ancestor, region
        region = ancestor


@frozen
class Takers:
    """Which nodes have transitions for which events.

    Attributes:
        by_descriptor: the nodes that have a transition with each descriptor.
        wildcard_depth: how many words the longest descriptor with a wildcard has.
    """

    by_descriptor: Mapping[str, Marked[None]]
    wildcard_depth: int

    def around(self, node: Node, event: str) -> bool:
        """Return whether one of the transitions may take `event` while `node` is active."""
        return any(self.by_descriptor[each].around(node) for each in self.descriptors(event))

    def descriptors(self, event: str) -> Iterator[str]:
        """Yield the descriptors of the transitions that may take `event`."""
        words = event.split(".", self.wildcard_depth)[: self.wildcard_depth]
        prefixes = (".".join([*words[:count], "*"]) for count in range(len(words) + 1))
        for each in dict.fromkeys((event, *prefixes)):
            if each in self.by_descriptor and (each == event or is_wildcard(each)):
                yield each

    def of_any(self, events: Iterable[str]) -> Marked[None]:
        """Return the nodes that have a transition for one of `events`."""
        found = {each for event in events for each in self.descriptors(event)}
        by_order = {order: None for each in found for order in self.by_descriptor[each].orders}
        return Marked(tuple(sorted(by_order)), by_order)


def takers(transitions: Iterable[tuple[str, Node]]) -> Takers:
    """Return the look-up of `transitions`, each as its descriptor and the node that has it."""
    nodes: defaultdict[str, dict[Node, None]] = defaultdict(dict)
    for descriptor, node in transitions:
        nodes[descriptor][node] = None
    depth = max((each.count(".") + 1 for each in nodes if is_wildcard(each)), default=0)
    return Takers({each: marked(found.items()) for each, found in nodes.items()}, depth)
