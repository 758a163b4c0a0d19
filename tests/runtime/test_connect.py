"""Backends by URL."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from settled import BackendConfigError
from settled_local.memory import MemoryBackend
from settled_runtime import backends, connect
from settled_runtime.url import without_password


def test_opens_what_the_scheme_names(tmp_path: Path) -> None:
    backend = connect(f"sqlite:///{tmp_path / 'a.db'}?lease=7")
    assert backend.lease == 7
    backend.close()


def test_opens_memory() -> None:
    assert isinstance(connect("memory://"), MemoryBackend)


@pytest.mark.parametrize("url", ["", "signup.db", "nosuch://x", "://"])
def test_says_which_schemes_there_are(url: str) -> None:
    with pytest.raises(BackendConfigError, match=r"no backend of this name.*memory://.*sqlite://"):
        connect(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ada:secret@host:7000/3", "redis://***@host:7000/3"),
        ("redis://:sec/ret@host", "redis://***@host"),
        ("redis://host/3?lease=5", "redis://host/3?lease=5"),
        ("sqlite:///of@home/a.db", "sqlite:///of@home/a.db"),
        ("signup.db", "signup.db"),
    ],
)
def test_shows_a_url_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_says_what_to_install_when_the_adapters_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("redis", "no_such_package_at_all:open", backends.GROUP)

    def known(**_: Any) -> list[EntryPoint]:
        return [missing]

    monkeypatch.setattr(backends, "entry_points", known)
    with pytest.raises(BackendConfigError, match=r"pip install 'settled\[redis\]'"):
        connect("redis://localhost")
