"""Durations are timedeltas. A number is an error at once, before anything happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from settled import Policy
from settled_local import MemoryBackend
from settled_runtime import Client, CompositeBackend, Worker
from tests.runtime.machines import greeter

NUMBER: Any = 5
BACKEND = MemoryBackend()
MACHINE = greeter(lambda input, call: "hello")
CLIENT = Client(MACHINE, BACKEND)
PORTS = BACKEND.store, BACKEND.queue, BACKEND.timers
GIVING: Mapping[str, Callable[[Any], object]] = {
    "Policy.lease": lambda given: Policy(lease=given),
    "MemoryBackend.lease": lambda given: MemoryBackend(lease=given),
    "CompositeBackend.lease": lambda given: CompositeBackend(*PORTS, lease=given),
    "CompositeBackend.resolution": lambda given: CompositeBackend(*PORTS, resolution=given),
    "Worker.receive_wait": lambda given: Worker([MACHINE], BACKEND, receive_wait=given),
    "Worker.shutdown_grace": lambda given: Worker([MACHINE], BACKEND, shutdown_grace=given),
    "Client.ask.timeout": lambda given: CLIENT.ask("ada", {"type": "GREET"}, timeout=given),
    "Client.outcome.timeout": lambda given: CLIENT.outcome("ada", "m", timeout=given),
    "Client.wait_for.timeout": lambda given: CLIENT.wait_for("ada", timeout=given),
}


@pytest.mark.parametrize("where", GIVING)
def test_a_number_is_an_error_that_says_what_to_write(where: str) -> None:
    name = where.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"{name} must be a timedelta, such as timedelta\(seconds=5\), not 5"):
        GIVING[where](NUMBER)
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        GIVING[where](timedelta(seconds=-1))
    assert BACKEND.queue.receive(1) == []
