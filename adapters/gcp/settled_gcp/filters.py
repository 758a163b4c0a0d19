"""Filters of subscriptions by machine: each published message has the attribute `ATTRIBUTE`, by which Pub/Sub selects.

A filter here is a list of machines: ``attributes.settled_machine = "order" OR attributes.settled_machine = "invoice"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from settled_gcp.names import machine_attribute

ATTRIBUTE = "settled_machine"

_TERM = re.compile(rf'\s*attributes\.{ATTRIBUTE}\s*=\s*("(?:[^"\\]|\\.)*")\s*')


def filter_of(machines: Collection[str]) -> str:
    """Return the filter of a subscription for `machines`."""
    terms = (json.dumps(machine_attribute(each), ensure_ascii=False) for each in machines)
    return " OR ".join(f"attributes.{ATTRIBUTE} = {term}" for term in terms)


def machines_in(text: str) -> frozenset[str] | None:
    """Return the values of `ATTRIBUTE` that the filter `text` selects; None if it selects in another way."""
    machines: set[str] = set()
    for term in text.split(" OR "):
        found = _TERM.fullmatch(term)
        if found is None:
            return None
        machines.add(json.loads(found[1]))
    return frozenset(machines)
