"""The URLs of the local backends."""

from __future__ import annotations

import time
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from settled.durable import MAX_MESSAGE_BYTES
from settled.errors import BackendConfigError
from settled_local import MemoryBackend, SQLiteBackend, open_memory, open_sqlite
from tests.adapters.local.fixtures import ADA, message


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_sqlite("sqlite:///relative.db").close()
    open_sqlite(f"sqlite:///{tmp_path}/absolute.db?lease=5").close()
    assert {path.name for path in tmp_path.glob("*.db")} == {"relative.db", "absolute.db"}


def test_options_in_the_url_take_precedence(tmp_path: Path) -> None:
    assert open_memory("memory://").lease == timedelta(seconds=30)
    assert open_memory("memory://?lease=5").lease == timedelta(seconds=5)
    backend = SQLiteBackend.open(
        f"sqlite:///{tmp_path}/settled.db?lease=0.5&remember=3&timeout=1", lease=timedelta(seconds=9)
    )
    assert backend.lease == timedelta(seconds=0.5)
    backend.queue.send([message(ADA, "a")])
    (delivery,) = backend.queue.receive(1)
    assert 0 < delivery.lease_until - time.time() <= 0.5
    backend.close()


def test_the_largest_message_is_an_option_and_an_argument(tmp_path: Path) -> None:
    assert open_memory("memory://?largest_message=2048").largest_message == 2048
    with (
        SQLiteBackend.open(tmp_path / "a.db") as by_default,
        SQLiteBackend.open(tmp_path / "a.db", largest_message=3000) as given,
    ):
        assert (by_default.largest_message, given.largest_message) == (MAX_MESSAGE_BYTES, 3000)
    with open_sqlite(f"sqlite:///{tmp_path}/a.db?largest_message=2048") as in_url:
        assert in_url.largest_message == 2048


def test_a_path_is_taken_as_it_stands(tmp_path: Path) -> None:
    SQLiteBackend.open(tmp_path / "100%?.db").close()
    assert (tmp_path / "100%?.db").exists()


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("sqlite:///a.db?leese=5", "no option 'leese'; known are largest_message, lease, remember, timeout"),
        ("sqlite:///a.db?lease=soon", "lease=soon"),
        ("sqlite:///a.db?lease=-1", "above 0"),
        ("sqlite:///a.db?lease=nan", "above 0"),
        ("sqlite:///a.db?remember=0", "from 1"),
        ("sqlite:///a.db?timeout=", "timeout="),
        ("sqlite:///a.db?largest_message=10", "expected a number of bytes from 1024"),
        ("sqlite:///a.db?largest_message=1MB", "expected a number of bytes from 1024"),
        ("sqlite://a.db", "expected sqlite:///FILE"),
        ("sqlite://", "expected sqlite:///FILE"),
        ("sqlite:///", "use memory://"),
        ("sqlite:///:memory:", "use memory://"),
        ("sqlite:a.db", "expected sqlite:///FILE"),
    ],
)
def test_a_malformed_url_fails(url: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendConfigError, match=remedy):
        open_sqlite(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["memory://name", "memory:", "memory://?timeout=1"])
def test_memory_takes_no_name(url: str) -> None:
    with pytest.raises(BackendConfigError):
        open_memory(url)


def test_both_have_entry_points(tmp_path: Path) -> None:
    backends = entry_points(group="settled.backends")
    assert isinstance(backends["memory"].load()("memory://"), MemoryBackend)
    backend = backends["sqlite"].load()(f"sqlite:///{tmp_path}/settled.db")
    assert isinstance(backend, SQLiteBackend)
    backend.close()
