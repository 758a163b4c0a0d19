"""The recorded corpora, the cases in which settled does otherwise than XState, and what it never does.

``fuzz`` and ``probes`` are generated; ``public`` holds the shapes of public machines, every name and text replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from settled import Node, Snapshot
from tests.parity.compare import Case, cases_in

HERE = Path(__file__).parent
CORPORA = ("fuzz", "probes", "public")

NEVER_TOGETHER = "its targets can never be active together: XState ends in all of them at once, settled refuses it"
TWO_CHILDREN = "XState rests with two children of one compound node active, settled with the one that was entered"
SYSTEM_ID = "two actors of one node have one system id, and XState throws when the second one starts"
OTHERWISE = {"p1-138": NEVER_TOGETHER, "p2-138": NEVER_TOGETHER, "p2-159": SYSTEM_ID, "g7707-400-from": TWO_CHILDREN}
"""The cases in which settled does otherwise, and why."""


def corpus(name: str) -> list[Case]:
    """All cases of the corpus `name`."""
    return list(cases_in(HERE / f"{name}.jsonl.gz"))


def cases_of(name: str) -> list[Case]:
    """Those in which settled does as XState."""
    return [case for case in corpus(name) if case["id"] not in OTHERWISE]


def case_of(name: str, id: str) -> Case:
    return next(case for case in corpus(name) if case["id"] == id)


def why_illegal(snapshot: Snapshot[Any]) -> str | None:
    """Return why no machine may rest in `snapshot`, by its nodes alone, so that the code does not check itself."""
    active = snapshot.configuration.members
    for node in active:
        if node.parent is not None and node.parent not in active:
            return f"{node.id} without its parent"
        if number(node, active) != {"compound": 1, "parallel": len(node.states)}.get(node.type, 0):
            return f"{node.id} with {number(node, active)} children"
    return None if any(node.parent is None for node in active) else "no root"


def number(node: Node, active: frozenset[Node]) -> int:
    return sum(child in active for child in node.states)
