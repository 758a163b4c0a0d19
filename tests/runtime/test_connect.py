"""Opening backends by URL, and showing a URL without its password."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from settled import BackendConfigError
from settled_local.memory import MemoryBackend
from settled_runtime import backends, connect
from settled_runtime.url import without_password


def test_opens_the_backend_of_the_scheme_with_its_options(tmp_path: Path) -> None:
    backend = connect(f"sqlite:///{tmp_path / 'a.db'}?lease=7")
    assert backend.lease == timedelta(seconds=7)
    backend.close()


def test_opens_a_backend_in_memory() -> None:
    assert isinstance(connect("memory://"), MemoryBackend)


@pytest.mark.parametrize("url", ["", "signup.db", "nosuch://x", "://"])
def test_an_unknown_scheme_raises_and_names_the_known_ones(url: str) -> None:
    with pytest.raises(BackendConfigError, match=r"unknown scheme.*memory://.*sqlite://"):
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
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_missing_packages_of_an_adapter_raise_and_name_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("redis", "no_such_package_at_all:open", backends.GROUP)

    def known(**_: Any) -> list[EntryPoint]:
        return [missing]

    monkeypatch.setattr(backends, "entry_points", known)
    with pytest.raises(BackendConfigError, match=r"pip install 'settled\[redis\]'"):
        connect("redis://localhost")
