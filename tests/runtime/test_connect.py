"""Backends by URL."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from settled import Denied
from settled_local.memory import MemoryBackend
from settled_runtime import connect, connecting


def test_opens_what_the_scheme_names(tmp_path: Path) -> None:
    backend = connect(f"sqlite:///{tmp_path / 'a.db'}?lease=7")
    assert backend.lease == 7
    backend.close()


def test_opens_memory() -> None:
    assert isinstance(connect("memory://"), MemoryBackend)


@pytest.mark.parametrize("url", ["", "signup.db", "nosuch://x", "://"])
def test_says_which_schemes_there_are(url: str) -> None:
    with pytest.raises(Denied, match=r"no backend of this name.*memory://.*sqlite://"):
        connect(url)


def test_says_what_to_install_when_the_adapters_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("redis", "no_such_package_at_all:open", connecting.GROUP)

    def known(**_: Any) -> list[EntryPoint]:
        return [missing]

    monkeypatch.setattr(connecting, "entry_points", known)
    with pytest.raises(Denied, match=r"pip install 'settled\[redis\]'"):
        connect("redis://localhost")
