"""The law of the core: it computes and never does."""

from __future__ import annotations

import ast
import asyncio
import datetime
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import settled
from settled import Args, Call, actor, assign, compile_chart, setup
from tests.support.purity import watch

CONFIG = {
    "id": "signup",
    "initial": "form",
    "context": {"email": None},
    "states": {
        "form": {"tags": ["settled"], "on": {"SUBMIT": {"target": "sending", "actions": "remember"}}},
        "sending": {
            "invoke": {"id": "mail", "src": "send_email", "onDone": "waiting", "onError": "form"},
            "after": {"1000": "form"},
        },
        "waiting": {"tags": ["settled"], "on": {"VERIFY": {"target": "active", "guard": "code_matches"}}},
        "active": {"type": "final"},
    },
}


def code_matches(a: Args[Any]) -> bool:
    return bool(a.event["code"] == 7)


def email(a: Args[Any]) -> str:
    return str(a.event["email"])


def send_email(input: Any, call: Call) -> None:
    raise AssertionError("the core performs nothing")


def lives() -> None:
    """From the definition to the end of an instance, stored and read again in between."""
    compile_chart(CONFIG)
    machine = setup(
        guards={"code_matches": code_matches},
        actions={"remember": assign(email=email)},
        actors={"send_email": actor(send_email)},
    ).machine(CONFIG)
    snapshot, _ = machine.initial_transition()
    snapshot, _ = machine.transition(snapshot, {"type": "SUBMIT", "email": "ada@example.org"})
    snapshot = machine.load(machine.dump(snapshot))
    snapshot, _ = machine.transition(snapshot, {"type": "xstate.done.actor.mail", "output": None, "actorId": "mail"})
    snapshot, _ = machine.transition(snapshot, {"type": "VERIFY", "code": 7})
    assert snapshot.status == "done"


def test_compiling_and_stepping_touch_nothing() -> None:
    lives()  # Python may load modules at their first use; a second machine is compiled from nothing all the same.
    with watch() as seen:
        lives()
    assert seen == []


def test_the_core_calls_no_built_in_that_acts() -> None:
    for module in Path(settled.__file__).parent.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call)]
        called = {function.id for function in calls if isinstance(function, ast.Name)}
        assert not called & {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}, module.name


BREACHES: dict[str, Callable[[], object]] = {
    "a file": lambda: open(os.devnull).close(),
    "a folder": lambda: os.listdir("."),
    "a socket": lambda: socket.socket().close(),
    "a name": lambda: socket.gethostbyname("localhost"),
    "a process": lambda: subprocess.run([sys.executable, "-S", "-c", ""], check=True),
    "a thread": lambda: threading.Thread(target=int).start(),
    "a log": lambda: logging.getLogger("settled").debug("hello"),
    "an event loop": lambda: asyncio.new_event_loop().close(),
    "a database": lambda: __import__("sqlite3").connect(":memory:").close(),
    "a new import": lambda: __import__("this_is_not_there_but_looked_for"),
    "sleep": lambda: time.sleep(0),
    "the clock": time.time,
    "a clock that only grows": time.monotonic,
    "now": datetime.datetime.now,
    "now there": lambda: datetime.datetime.now(datetime.UTC),
    "today": datetime.date.today,
    "chance": random.random,
    "chance, chosen": lambda: random.choice([1, 2]),
    "chance, seeded": lambda: random.Random(1).random(),
    "a fresh id": uuid.uuid4,
    "the system's chance": lambda: os.urandom(1),
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
def test_the_watch_sees(breach: Callable[[], object]) -> None:
    with watch() as seen, suppress(ImportError):
        breach()
    assert seen
