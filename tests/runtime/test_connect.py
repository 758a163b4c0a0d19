"""Opening backends by URL, and showing a URL without its credentials."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from settled import BackendConfigError, SettledError
from settled_local.memory import MemoryBackend
from settled_runtime import backends, connect
from settled_runtime.doctor import examine
from settled_runtime.url import without_credentials


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
        ("redis://:sec@ret@host", "redis://***@host"),
        ("redis://:sec?ret@host", "redis://***"),
        ("redis://ada:secret", "redis://ada:***"),
        ("redis:ada:secret@host", "redis:***@host"),
        ("redis:///:secret@host", "redis://***@host"),
        ("redis://[::1]:7000/3?prefix=a:&lease=5", "redis://[::1]:7000/3?prefix=a:&lease=5"),
        ("redis://host?lease=5;password=secret", "redis://host?lease=5&password=***"),
        ("aws://AKIA:secret@eu-central-1/signup", "aws://***@eu-central-1/signup"),
        ("aws://eu-central-1/a?role=arn:aws:iam::1:role/x", "aws://eu-central-1/a?role=arn:aws:iam::1:role/x"),
        ("gcp://p/n?account=a@b.example", "gcp://p/n?account=a@b.example"),
        ("gcp://p/n?publish=https://ada:secret@host", "gcp://p/n?publish=https://***@host"),
        ("sqlite:///of@home/a.db", "sqlite:///of@home/a.db"),
        ("sqlite:///a.db?key=secret", "sqlite:///a.db?key=***"),
        ("memory://?secret", "memory://?***"),
        ("other://host/db?sslpassword=secret&x=1", "other://host/db?sslpassword=***&x=***"),
        ("signup.db", "signup.db"),
        ("sqlite:///a\n\x1b[2J.db", r"sqlite:///a\n\x1b[2J.db"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


SECRET = "pa55/w@rd:#1"
LOGINS = (f"ada:{SECRET}@", f":{SECRET}@", "ada:pa55w%40rd:1@")
OPTIONS = ("password", "PASSWORD", "token", "key", "aws_secret_access_key", "passphrase", "leese", "p%61ssword")


@pytest.mark.parametrize("scheme", ["aws", "gcp", "memory", "sqlite", "redis", "rediss", "valkey", "valkeys", "other"])
class TestCredentials:
    def test_before_the_host_are_in_no_error(self, scheme: str) -> None:
        urls = [
            f"{scheme}://{login}nosuchhost.invalid{path}?leese=5"
            for login in LOGINS
            for path in ("", "/", "/0", "/a/b")
        ]
        assert [url for url in urls if "pa55" in error_of(url)] == []

    def test_in_an_option_are_in_no_error(self, scheme: str) -> None:
        queries = (f"{{}}={SECRET}", "lease=x&{}=pa55", "{}=pa55&lease=x", "lease=5;{}=pa55")
        urls = [f"{scheme}://host/name?{query.format(option)}" for option in OPTIONS for query in queries]
        assert [url for url in urls if "pa55" in error_of(url)] == []


def error_of(url: str) -> str:
    """Return the text of the error, and of its causes, with which `url` is refused."""
    texts = [*_texts_of(connect, url), *_texts_of(examine, url)]
    assert texts
    return "\n".join(texts)


def _texts_of(function: Callable[[str], object], url: str) -> Iterator[str]:
    try:
        function(url)
    except SettledError as error:
        yield "".join(traceback.format_exception_only(error))


def test_the_options_of_our_adapters_that_are_no_secret_are_shown() -> None:
    url = "gcp://p/n?location=x&lease=zero"
    with pytest.raises(BackendConfigError) as raised:
        connect(url)
    assert str(raised.value).startswith(f"{url}: lease=zero: ")


def test_missing_packages_of_an_adapter_raise_and_name_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("redis", "no_such_package_at_all:open", backends.GROUP)

    def known(**_: Any) -> list[EntryPoint]:
        return [missing]

    monkeypatch.setattr(backends, "entry_points", known)
    with pytest.raises(BackendConfigError, match=r"pip install 'settled\[redis\]'"):
        connect("redis://localhost")
