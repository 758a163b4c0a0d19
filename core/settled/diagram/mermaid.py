"""Write a diagram in Mermaid's ``stateDiagram-v2``, for the version that GitHub uses.

States come first and arrows last, because Mermaid puts a state into the block in which its id first occurs. In texts
all but plain characters are written as entities, because most others are syntax somewhere in Mermaid's grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import assert_never

from settled.chart.chart import Chart, Configuration
from settled.diagram.model import Arrow, Diagram, Shape, diagram, on_one_line


def mermaid(chart: Chart, configuration: Configuration | None = None) -> str:
    """Return `chart` as a Mermaid state diagram. The nodes of `configuration`, if given, are marked as active."""
    drawn = diagram(chart, configuration)
    lines = [
        "---",
        f"title: {json.dumps(on_one_line(drawn.title), ensure_ascii=False)}",
        "---",
        "stateDiagram-v2",
        *(f"  {line}" for line in _statements(drawn)),
    ]
    return "\n".join(lines) + "\n"


def _statements(drawn: Diagram) -> Iterator[str]:
    arrows: dict[str, list[Arrow]] = {}
    for arrow in drawn.arrows:
        arrows.setdefault(arrow.source, []).append(arrow)
    starts = {arrow.source: arrow for arrow in drawn.arrows}
    for shape in drawn.shapes:
        yield from _state(shape, starts)
    # In reverse, because then Mermaid 11 draws fewer arrows behind other states.
    for shape in reversed(tuple(drawn.all())):
        if shape.kind != "start":
            yield from (_arrow(shape.id, arrow) for arrow in arrows.get(shape.id, ()))
    yield from _marks(drawn)


def _state(shape: Shape, starts: Mapping[str, Arrow]) -> Iterator[str]:
    match shape.kind:
        case "start":
            yield _arrow("[*]", starts[shape.id])
        case "compound" | "parallel":
            yield f"{_declared(shape)} {{"
            for index, inner in enumerate(_regions_last(shape)):
                if index and inner in shape.regions:
                    yield "  --"
                yield from (f"  {line}" for line in _state(inner, starts))
            yield "}"
        case "state" | "final" | "history" | "any" | "anew":
            yield _declared(shape)
            yield from (f"{shape.id} : {_escaped(line)}" for line in shape.lines)
            if shape.kind == "final":
                yield f"{shape.id} --> [*]"
        case _:
            assert_never(shape.kind)


def _regions_last(shape: Shape) -> list[Shape]:
    """Return the shapes inside `shape`, regions last: the others share the part before the first ``--``."""
    return sorted(shape.inside, key=lambda inner: inner in shape.regions)


def _declared(shape: Shape) -> str:
    if shape.id == shape.title and not shape.lines:
        return f"state {shape.id}" if shape.inside else shape.id
    return f'state "{_escaped(shape.title) or "#160;"}" as {shape.id}'


def _arrow(source: str, arrow: Arrow) -> str:
    label = f" : {'<br/>'.join(map(_escaped, arrow.label))}" if arrow.label else ""
    return f"{source} --> {arrow.target}{label}"


_STYLES = {
    "settled": "fill:#dcfce7,stroke:#15803d,color:#14532d",
    "active": "stroke:#1d4ed8,stroke-width:4px",
    "pseudo": "fill:#ffffff,stroke:#64748b,stroke-dasharray:4 3,color:#475569",
}


def _marks(drawn: Diagram) -> Iterator[str]:
    marked = {
        "settled": [shape.id for shape in drawn.all() if shape.is_settled],
        "active": [shape.id for shape in drawn.all() if shape.is_active],
        "pseudo": [shape.id for shape in drawn.all() if shape.kind in ("any", "anew", "history")],
    }
    for name, ids in marked.items():
        if ids:
            yield f"classDef {name} {_STYLES[name]}"
            yield f"class {','.join(ids)} {name}"


_ODD = re.compile(r"[^\w .,/()\[\]+=!?'|@-]|(?<![^\W_])_|_(?![^\W_])")
"""Characters to escape: all but letters, digits and harmless marks, and underscores that could mean emphasis."""


def _escaped(text: str) -> str:
    return _ODD.sub(lambda found: f"#{ord(found[0])};", on_one_line(text))
