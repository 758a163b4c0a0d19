"""Backups of a Redis server, put back into a new one as ``docs/backup.md`` says; what goes on there (D1, X4, F9)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled import Machine
from settled.durable.messages import Event, decode
from settled.errors import BackendConfigError
from settled_redis.backend import RedisBackend
from settled_runtime import Client, Worker
from settled_runtime.backups import backup, renew_epoch, restore
from tests.durable.machines import add, appending
from tests.emulators.redis_servers import ALWAYS, IN_MEMORY, Process, redis_binary, running, valkey_binary, wait_until

NAMES = [f"i{n}" for n in range(5)]
COUNT = 150


@contextmanager
def working(machine: Machine[Any], url: str) -> Generator[Client[Any]]:
    with (
        closing(RedisBackend.open(url, lease=timedelta(seconds=1))) as backend,
        Worker([machine], backend, receive_wait=timedelta(seconds=0.05)).running(),
    ):
        yield Client(machine, backend)


def applied(client: Client[Any], name: str) -> list[int]:
    snapshot = client.get(name)
    return [] if snapshot is None else list(snapshot.context["applied"])


def waiting_in(server: Process, name: str) -> list[int]:
    """Return the numbers in the messages of an instance that wait on the server, in their order."""
    numbers: list[int] = []
    for element in server.client.lrange(f"settled:{{0}}:queue:list/{name}", 0, -1):
        if element:  # an empty one was acknowledged
            _, length, rest = element.split(b" ", 2)
            content = decode(rest[int(length) :].decode())
            if isinstance(content, Event):
                event: Any = content.event
                numbers.append(event["n"])
    return numbers


def save(server: Process, to: Path) -> None:
    """As ``redis-cli BGSAVE``, and a copy of the file."""
    before = server.client.lastsave()
    time.sleep(1.1)  # LASTSAVE has whole seconds
    server.client.bgsave()
    wait_until(lambda: server.client.lastsave() != before, "the snapshot")
    shutil.copy(server.folder / "dump.rdb", to)


def load(server: Process) -> None:
    """Write the append-only file of what the server has loaded from ``dump.rdb``."""
    server.set("appendonly", "yes")
    server.set("appendfsync", "always")

    def is_written() -> bool:
        info = server.client.info("persistence")
        return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

    wait_until(is_written, "the append-only file")


@pytest.mark.parametrize("binary", [redis_binary, valkey_binary])
def test_workers_go_on_with_exactly_what_the_backup_had(tmp_path: Path, binary: Callable[[], str]) -> None:
    """Nothing of it is lost or applied twice, and nothing that comes later is swallowed."""
    machine, (old, new) = appending(), (tmp_path / "old", tmp_path / "new")
    new.mkdir()
    with (
        running(binary(), old, *ALWAYS) as server,
        ThreadPoolExecutor() as threads,
        working(machine, server.url()) as client,
    ):
        for name in NAMES:
            client.start(name)
        is_saved = False

        def send() -> int:
            """Return how many numbers were sent: some of them after the snapshot."""
            n = 0
            while n < COUNT or (not is_saved and n < 5000):
                for name in NAMES:
                    client.send(name, add(n), message_id=f"{name}-{n}")
                n += 1
            return n

        sending = threads.submit(send)
        wait_until(lambda: all(len(applied(client, name)) > 20 for name in NAMES), "some events")
        save(server, new / "dump.rdb")
        is_saved = True
        total = sending.result() + 20
        for n in range(total - 20, total):
            for name in NAMES:
                client.send(name, add(n), message_id=f"{name}-{n}")
        wait_until(lambda: all(len(applied(client, name)) == total for name in NAMES), "all events")
    with running(binary(), new, *IN_MEMORY) as server:
        with pytest.raises(BackendConfigError, match="appendonly no"):
            RedisBackend.open(server.url())  # not yet: what it acknowledges now would be lost
        load(server)
        renew_epoch(server.url())
        with closing(RedisBackend.open(server.url())) as backend:
            client = Client(machine, backend)
            for name in NAMES:
                had = applied(client, name) + waiting_in(server, name)
                assert had == list(range(len(had)))
                assert 20 < len(had) < total
                # Senders repeat what they have sent last, some of which is in the backup and some of which is lost.
                for n in range(len(had) - 10, total):
                    client.send(name, add(n), message_id=f"{name}-{n}")
        with working(machine, server.url()) as client:
            wait_until(lambda: all(total - 1 in applied(client, name) for name in NAMES), "all events")
            assert [applied(client, name) for name in NAMES] == [list(range(total))] * len(NAMES)
        server.kill()
        server.start(True, "--appendonly", "yes")
        with closing(RedisBackend.open(server.url())) as backend:
            assert applied(Client(machine, backend), NAMES[0]) == list(range(total))


def test_settled_makes_none_itself(tmp_path: Path) -> None:
    url = "redis://ada:secret@host"
    with pytest.raises(BackendConfigError, match=r"^redis://\*\*\*@host: is backed up and restored by copying"):
        backup(url, tmp_path / "x")
    with pytest.raises(BackendConfigError, match=r"docs/backup\.md says\. Then: settled new-epoch"):
        restore(tmp_path / "x", url)
    assert not list(tmp_path.iterdir())
