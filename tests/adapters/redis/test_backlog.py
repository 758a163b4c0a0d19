"""Messages that no worker takes: since when none of a machine's messages was delivered."""

from __future__ import annotations

from datetime import timedelta

from settled import Key
from settled_redis import examine_redis
from settled_redis.backend import RedisBackend
from tests.adapters.local.fixtures import Clock
from tests.emulators.redis_servers import Process
from tests.support.builders import message

ORDER, OTHER = Key("order", "1"), Key("order", "2")


def since(backend: RedisBackend) -> dict[str, float | None]:
    return {each.machine: each.oldest for each in backend.queue.backlog()}


def test_a_machine_waits_since_its_first_message(redis: Process, prefix: str) -> None:
    clock = Clock()
    with RedisBackend.open(redis.url(), prefix=prefix, clock=clock) as backend:
        sent = clock.now
        backend.queue.send([message(ORDER, "1")])
        clock.now += 5
        backend.queue.send([message(OTHER, "2")])
        assert since(backend) == {"order": sent}


def test_a_machine_waits_since_one_of_its_messages_was_delivered(redis: Process, prefix: str) -> None:
    clock = Clock()
    with RedisBackend.open(redis.url(), prefix=prefix, clock=clock) as backend:
        backend.queue.send([message(ORDER, "1"), message(OTHER, "2")])
        clock.now += 5
        backend.queue.receive(1, machines={"order"})
        assert since(backend) == {"order": clock.now}


def test_a_message_whose_lease_has_ended_waits_since_then(redis: Process, prefix: str) -> None:
    clock = Clock()
    with RedisBackend.open(redis.url(), prefix=prefix, clock=clock, lease=timedelta(seconds=10)) as backend:
        backend.queue.send([message(ORDER, "1")])
        backend.queue.receive(1)
        ended = clock.now + 10
        clock.now += 60
        assert since(backend) == {"order": ended}


def test_the_doctor_says_which_machine_is_not_served(redis: Process, prefix: str) -> None:
    url = redis.url(f"?prefix={prefix}&lease=0.01")
    with RedisBackend.open(url) as backend:
        backend.queue.send([message(ORDER, "1")])
        before = backend.now()
        while backend.now() <= before + 0.02:
            backend.store.load(ORDER)  # an answer brings the server's time
        problems = [each.problem for each in examine_redis(url)]
    assert "order: messages wait (1)" in problems
