"""Round trips for a round of turns: one, if the records are cached, however many instances take part."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from settled_runtime import Client
from settled_runtime.host_context import HostContext
from tests.adapters.redis.conftest import Opener, requests
from tests.durable.machines import add, appending
from tests.emulators.redis_servers import Process
from tests.support.serving import serve


@pytest.mark.parametrize("count", [1, 20])
def test_a_round_of_turns_is_one_round_trip(redis: Process, opener: Callable[[Process], Opener], count: int) -> None:
    backend, machine, rounds = opener(redis)(partitions=1), appending(), 10
    client, context = Client(machine, backend), HostContext.of([machine], backend, None, ())
    names = [f"i{n}" for n in range(count)]
    for name in names:
        client.start(name)
    serve(context, backend.queue.receive(count))
    for number in range(rounds):
        for name in names:
            client.send(name, add(number))
    deliveries = backend.queue.receive(count)
    before = requests(redis)
    for _ in range(rounds):
        deliveries = serve(context, deliveries, receive=count)
    spent = requests(redis) - before - 1  # reading the statistics is a request too
    context.leases.close()
    assert {len(found.context["applied"]) for name in names if (found := client.get(name))} == {rounds}
    assert spent == rounds
