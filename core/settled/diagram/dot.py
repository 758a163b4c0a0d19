"""Write a diagram in Graphviz's DOT.

A shape with shapes inside becomes a cluster. In DOT an edge cannot end at a cluster: it ends at a node inside, and
``lhead`` or ``ltail`` clips it at the cluster's border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import assert_never

from settled.chart.chart import Chart, Configuration
from settled.diagram.model import Arrow, Diagram, Shape, diagram, on_one_line

_GRAPH = (
    'graph [compound=true, fontname="Helvetica", labelloc="t", nodesep=0.4, ranksep=0.5]',
    'node [shape=box, style="rounded,filled", fillcolor="white", color="#64748b", fontname="Helvetica", fontsize=11]',
    'edge [color="#64748b", fontname="Helvetica", fontsize=10]',
)
_SETTLED, _ACTIVE = 'fillcolor="#dcfce7"', 'color="#1d4ed8", penwidth=3'


def dot(chart: Chart, configuration: Configuration | None = None) -> str:
    """Return `chart` as a Graphviz digraph. The nodes of `configuration`, if given, are marked as active."""
    drawn = diagram(chart, configuration)
    shapes = {shape.id: (order, shape) for order, shape in enumerate(drawn.all())}
    lines = [
        *_GRAPH,
        *(["newrank=true"] if _crosses(drawn) else []),
        f"label=<<b>{_escaped(drawn.title)}</b>>",
        *(line for shape in drawn.shapes for line in _shape(shape)),
        *(_arrow(arrow, shapes) for arrow in drawn.arrows),
    ]
    return "\n".join(["digraph {", *(f"  {line}" for line in lines), "}"]) + "\n"


def _crosses(drawn: Diagram) -> bool:
    """Return whether an arrow leads into or out of a shape."""
    # Then Graphviz's default ranking fails and `newrank` is needed; elsewhere the default looks better.
    around = {inner.id: shape.id for shape in drawn.all() for inner in shape.inside}
    return any(around.get(arrow.source) != around.get(arrow.target) for arrow in drawn.arrows)


def _shape(shape: Shape) -> Iterator[str]:
    match shape.kind:
        case "start":
            yield _node(shape, 'shape=point, width=0.15, fillcolor="#334155", label=""')
        case "history":
            yield _node(shape, f"shape=circle, margin=0.02, {_label(shape)}")
        case "any" | "anew":
            yield _node(shape, f'style="rounded,dashed", fontcolor="#475569", {_label(shape)}')
        case "state":
            yield _node(shape, _label(shape))
        case "final":
            yield _node(shape, f"peripheries=2, {_label(shape)}")
        case "compound" | "parallel":
            yield from _cluster(shape)
        case _:
            assert_never(shape.kind)


def _node(shape: Shape, attributes: str) -> str:
    return f"{_id(shape.id)} [{', '.join([attributes, *_marks(shape)])}]"


def _cluster(shape: Shape) -> Iterator[str]:
    yield f"subgraph {_id(_cluster_of(shape))} {{"
    style = 'style="rounded,filled", fillcolor="white", color="#64748b", fontsize=12'
    yield f"  graph [{', '.join([_label(shape), style, *_marks(shape)])}]"
    for inner in shape.inside:
        lines = _region(inner) if inner in shape.regions else _shape(inner)
        yield from (f"  {line}" for line in lines)
    yield "}"


def _region(shape: Shape) -> Iterator[str]:
    """Draw a region of a parallel node in a dashed frame, to distinguish it from an ordinary child."""
    yield f"subgraph {_id(f'cluster_{shape.id}__region')} {{"
    yield '  graph [label="", style="dashed", color="#94a3b8"]'
    yield from (f"  {line}" for line in _shape(shape))
    yield "}"


def _arrow(arrow: Arrow, shapes: Mapping[str, tuple[int, Shape]]) -> str:
    (source_order, source), (target_order, target) = shapes[arrow.source], shapes[arrow.target]
    is_forward = source_order < target_order
    attributes = [f"label=<{'<br/>'.join(map(_escaped, arrow.label))}>"] if arrow.label else []
    if source.inside:
        attributes.append(f"ltail={_id(_cluster_of(source))}")
    if target.inside:
        attributes.append(f"lhead={_id(_cluster_of(target))}")
    listed = f" [{', '.join(attributes)}]" if attributes else ""
    # Graphviz places the head of an edge below its tail. So a forward arrow starts at the last node of its cluster,
    # and one that leads back at the first.
    return f"{_id(_last(source) if is_forward else _first(source))} -> {_id(_first(target))}{listed}"


def _first(shape: Shape) -> str:
    return _first(shape.inside[0]) if shape.inside else shape.id


def _last(shape: Shape) -> str:
    return _last(shape.inside[-1]) if shape.inside else shape.id


def _marks(shape: Shape) -> Iterator[str]:
    if shape.is_settled:
        yield _SETTLED
    if shape.is_active:
        yield _ACTIVE


def _cluster_of(shape: Shape) -> str:
    return f"cluster_{shape.id}"


def _id(id: str) -> str:
    return f'"{id}"'


def _label(shape: Shape) -> str:
    lines = "".join(f'<br/><font point-size="10">{_escaped(line)}</font>' for line in shape.lines)
    return f"label=<<b>{_escaped(shape.title)}</b>{lines}>"


def _escaped(text: str) -> str:
    return escape(on_one_line(text)) or " "
