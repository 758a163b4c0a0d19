"""Keys that an older settled has written: migrated when they are opened, and their instances go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import pytest

from settled import Key, RecordError
from settled_redis import examine_redis, keyspace
from settled_redis.backend import RedisBackend
from settled_redis.backup import renew_epoch
from settled_redis.keyspace import FORMAT, OLDEST_FORMAT
from settled_redis.topology import Topology
from tests.adapters.local.fixtures import LEASE, Clock
from tests.emulators.redis_servers import Process
from tests.support.older_world import STARTED, OlderInstances, states, work

OLDER = Path(__file__).parent / "older"
Open: TypeAlias = Callable[[], RedisBackend]


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Process:
    found: Process = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = STARTED
    return clock


@pytest.fixture(params=range(OLDEST_FORMAT, FORMAT))
def open_it(request: pytest.FixtureRequest, server: Process, prefix: str, clock: Clock) -> Open:
    """Return a function that opens the keys of an older format, which the server has."""
    for line in (OLDER / f"{request.param}.jsonl").read_text().splitlines():
        command, key, *values = json.loads(line)
        server.client.execute_command(command, key.replace("PREFIX:", prefix), *values)
    return lambda: RedisBackend.open(server.url(), prefix=prefix, lease=timedelta(seconds=LEASE), clock=clock)


@pytest.fixture
def backend(open_it: Open) -> Iterator[RedisBackend]:
    with closing(open_it()) as backend:
        yield backend


def format_of(server: Process, prefix: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(server.client.get(f"{prefix}format"))
    return found


class TestTheKeys:
    def test_have_the_new_format_once_they_were_opened(self, server: Process, prefix: str, open_it: Open) -> None:
        before = format_of(server, prefix)
        open_it().close()
        assert format_of(server, prefix) == {**before, "settled": FORMAT}

    def test_are_examined_as_they_are(self, server: Process, prefix: str, open_it: Open) -> None:
        before = format_of(server, prefix)
        examine_redis(server.url(f"?prefix={quote(prefix)}"))
        assert format_of(server, prefix) == before

    def test_may_get_a_new_epoch_before_they_are_opened(self, server: Process, prefix: str, open_it: Open) -> None:
        before = format_of(server, prefix)
        renew_epoch(server.url(f"?prefix={quote(prefix)}"))
        renewed = format_of(server, prefix)
        assert renewed == {**before, "epoch": renewed["epoch"]} != before
        with closing(open_it()) as backend:
            work(backend)
            assert states(backend)["queued"] == "paid"
        assert format_of(server, prefix) == {**renewed, "settled": FORMAT}

    def test_are_migrated_by_several_clients_at_the_same_time(self, server: Process, open_it: Open) -> None:
        with ThreadPoolExecutor(8) as threads:
            for opened in [threads.submit(open_it) for _ in range(8)]:
                opened.result().close()

    def test_are_left_to_a_client_that_has_migrated_them_to_a_newer_format_meanwhile(
        self, server: Process, prefix: str, open_it: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        newer = json.dumps({**format_of(server, prefix), "settled": FORMAT + 1})
        read = keyspace.read_format

        def read_before_the_other(servers: Topology, prefix: str) -> bytes | None:
            found = read(servers, prefix)
            server.client.set(f"{prefix}format", newer)
            return found

        monkeypatch.setattr(keyspace, "read_format", read_before_the_other)
        with pytest.raises(RecordError, match="of a newer settled"):
            open_it()
        assert server.client.get(f"{prefix}format").decode() == newer


class TestTheirInstances(OlderInstances):
    pass


def test_a_record_with_a_byte_that_is_no_utf_8_is_reported_as_damaged(
    backend: RedisBackend, server: Process, prefix: str
) -> None:
    name = f"{prefix}{{0}}:record:order/waiting"
    data = bytearray(server.client.get(name))
    data[-5] = 0xFF
    server.client.set(name, bytes(data))
    with pytest.raises(RecordError, match="damaged"):
        backend.store.load(Key("order", "waiting"))
