"""The example `any_host`: the core, a dict, and nothing else of settled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.any_host import host

FILE = Path(host.__file__)


@pytest.fixture(autouse=True)
def empty_store() -> Iterator[None]:
    yield
    host.store.clear()


def value(instance: str) -> object:
    return host.order.load(host.store[instance]).value


def test_it_starts_an_instance_with_its_first_event() -> None:
    host.handle("42", None)
    assert value("42") == "basket"


def test_it_runs_actors_until_the_machine_settles() -> None:
    host.handle("42", None)
    host.handle("42", {"type": "PAY", "card": "4711"})
    assert value("42") == "paid"


def test_an_actor_that_fails_becomes_an_error_event() -> None:
    host.handle("42", None)
    host.handle("42", {"type": "PAY", "card": "0000"})
    assert value("42") == "basket"


def test_instances_are_independent() -> None:
    host.handle("42", None)
    host.handle("43", None)
    host.handle("42", {"type": "PAY", "card": "4711"})
    assert (value("42"), value("43")) == ("paid", "basket")


def test_it_imports_only_the_core() -> None:
    script = f"import runpy, sys; runpy.run_path({str(FILE)!r}, run_name='__main__'); print(*sys.modules)"
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert '"value":"shipped"' in lines[-1]
    assert not [name for name in modules.split() if name.startswith("settled_")]
