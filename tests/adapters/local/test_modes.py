"""A new SQLite file, and the files that SQLite writes beside it, can be read by their user alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from settled import BackendConfigError, Key
from settled.durable import Message
from settled_local import SQLiteBackend

NEIGHBOURS = ("", "-wal", "-shm")


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(path: Path) -> list[str]:
    """Write to the file at `path`, and return its mode and those of its neighbours while it is open."""
    with SQLiteBackend.open(path) as backend:
        backend.queue.send([Message(Key("m", "a"), "1", "{}")])
        return [oct(S_IMODE(os.stat(f"{path}{suffix}").st_mode)) for suffix in NEIGHBOURS]


def test_a_new_file_is_private(tmp_path: Path) -> None:
    assert modes(tmp_path / "a.db") == ["0o600"] * 3


def test_a_new_file_behind_a_link_is_private(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    with SQLiteBackend.open(tmp_path / "link.db"):
        assert S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["0o640", "0o644", "0o660"])
def test_a_file_that_exists_keeps_its_mode(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a.db").touch()
    (tmp_path / "a.db").chmod(int(mode, 8))
    assert modes(tmp_path / "a.db") == [mode] * 3
    assert modes(tmp_path / "a.db") == [mode] * 3


@pytest.mark.parametrize("path", [":memory:", "nowhere/a.db"])
def test_a_path_that_cannot_be_used_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendConfigError):
        SQLiteBackend.open(path)
    assert list(tmp_path.iterdir()) == []
