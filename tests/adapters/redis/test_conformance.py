"""The conformance suite on Redis: on one server that is killed during it, and on a cluster.

With a small budget; `settled conformance settled_redis:killed` and `settled_redis:cluster` run longer, and so does
`settled_redis:backend`, on a server that is not killed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from settled_conformance import Harness, Session
from settled_conformance.harnesses.redis import cluster, killed

HARNESSES: dict[str, Callable[[], Harness]] = {"killed": killed, "cluster": cluster}


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("name", HARNESSES)
def test_every_guarantee_is_kept(name: str) -> None:
    session = Session(HARNESSES[name](), budget=1.0)
    verdicts = list(session.verdicts())
    assert len(verdicts) > 40
    assert [f"{each.guarantee.id}: {each.status} {each.detail}" for each in verdicts if not each.is_fine] == []
