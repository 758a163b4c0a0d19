"""`AsyncClient`: what `Client` does, awaited; and what a `Client` says in an event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled import Outcome, setup
from settled_local import SQLiteBackend
from settled_runtime import AsyncClient, AsyncHost, Client, EventOutcomeError, Worker

machine = setup(guards={"never": lambda a: False}).machine(
    {
        "id": "counter",
        "initial": "even",
        "states": {
            "even": {"tags": ["settled"], "on": {"NEXT": "odd", "END": "over", "NEVER": {"guard": "never"}}},
            "odd": {"tags": ["settled"], "on": {"NEXT": "even"}},
            "over": {"type": "final"},
        },
    }
)

SOON = timedelta(seconds=10)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SQLiteBackend]:
    with SQLiteBackend.open(tmp_path / "settled.db") as opened:
        yield opened


@pytest.fixture
def client(backend: SQLiteBackend) -> AsyncClient[Any]:
    return AsyncClient(machine, backend)


@pytest.fixture
def worker(backend: SQLiteBackend) -> Iterator[None]:
    with Worker([machine], backend).running():
        yield


def public(kind: type[object]) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}


class TestTheMethods:
    def test_are_those_of_a_client(self) -> None:
        assert set(public(AsyncClient)) == set(public(Client)) - {"close", "send_message"}

    @pytest.mark.parametrize("name", sorted(public(AsyncClient)))
    def test_have_the_same_parameters(self, name: str) -> None:
        expected, found = inspect.signature(getattr(Client, name)), inspect.signature(getattr(AsyncClient, name))
        assert found.parameters == expected.parameters
        assert getattr(AsyncClient, name).__doc__

    @pytest.mark.usefixtures("worker")
    @pytest.mark.asyncio
    async def test_do_what_those_of_a_client_do(self, client: AsyncClient[Any]) -> None:
        assert await client.get("ada") is None
        id = await client.start("ada")
        assert (await client.outcome("ada", id, timeout=SOON)).value == "even"
        assert (await client.ask("ada", {"type": "NEXT"}, timeout=SOON)).value == "odd"
        await client.send("ada", {"type": "NEXT"})
        assert (await client.wait_for("ada", value="even", timeout=SOON)).value == "even"
        assert [row.id for row in await client.list()] == ["ada"]
        assert await client.dead_letters("ada") == []
        assert await client.redrive("ada") == 0
        await client.import_snapshot("ben", await client.export_snapshot("ada"))
        assert (await client.wait_for("ben", timeout=SOON)).value == "even"
        assert await client.delete("ada")
        assert not await client.delete("ada")

    @pytest.mark.usefixtures("worker")
    @pytest.mark.asyncio
    async def test_raise_what_those_of_a_client_raise(self, client: AsyncClient[Any]) -> None:
        await client.start("ada")
        with pytest.raises(EventOutcomeError, match="never") as raised:
            await client.ask("ada", {"type": "NEVER"}, timeout=SOON)
        assert raised.value.outcome is Outcome.IGNORED
        with pytest.raises(TimeoutError, match=r"waited 0\.1 s for tag x"):
            await client.wait_for("ada", tag="x", timeout=timedelta(seconds=0.1))
        with pytest.raises(TypeError, match="timeout"):
            await client.ask("ada", {"type": "NEXT"}, timeout=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        assert (await client.wait_for("ada", timeout=SOON)).value == "even", "an event was sent"


@pytest.mark.usefixtures("worker")
@pytest.mark.asyncio
async def test_watch_is_an_asynchronous_iterator(client: AsyncClient[Any]) -> None:
    await client.start("ada")
    seen = list[Any]()
    async for update in client.watch("ada"):
        seen.append(update.snapshot and update.snapshot.value)
        await client.send("ada", {"type": "END" if seen == ["even"] else "NEXT"})
    assert seen == ["even", "over"]


@asynccontextmanager
async def heartbeats() -> AsyncGenerator[list[float]]:
    """Yield the times between the turns of a task that does nothing but sleep."""
    gaps = list[float]()

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    task = asyncio.create_task(beat())
    try:
        yield gaps
    finally:
        task.cancel()


@pytest.mark.asyncio
async def test_nothing_blocks_the_loop(client: AsyncClient[Any]) -> None:
    async with heartbeats() as gaps:
        with pytest.raises(TimeoutError):
            await client.ask("ada", {"type": "NEXT"}, timeout=timedelta(seconds=0.5))
    assert max(gaps) < 0.4


@pytest.mark.asyncio
async def test_many_tasks_wait_without_a_thread_for_each(backend: SQLiteBackend, client: AsyncClient[Any]) -> None:
    names, before = [f"n{number}" for number in range(200)], threading.active_count()
    waiting = [asyncio.create_task(client.wait_for(name, timeout=timedelta(minutes=1))) for name in names]
    for name in names:
        await client.start(name)
    async with heartbeats():
        threads = threading.active_count()
        with Worker([machine], backend).running():
            found = await asyncio.gather(*waiting)
    assert [snapshot.value for snapshot in found] == ["even"] * 200
    assert threads - before < 60


class TestACancelledAsk:
    @pytest.mark.asyncio
    async def test_says_that_the_event_stays_sent(self, backend: SQLiteBackend, client: AsyncClient[Any]) -> None:
        asking = asyncio.create_task(client.ask("ada", {"type": "NEXT"}, message_id="one"))
        while not backend.queue.backlog():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await asking
        assert raised.value.__notes__ == ["counter/ada: if the event was sent, it stays sent, as one"]
        assert sum(each.messages for each in backend.queue.backlog()) == 1

    @pytest.mark.asyncio
    async def test_leaves_no_watch_behind(self, backend: SQLiteBackend, client: AsyncClient[Any]) -> None:
        for delay in (0.0, 0.001, 0.003, 0.01, 0.05):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.wait_for("ada"), delay)
        assert not backend._watchers.by_key  # pyright: ignore[reportPrivateUsage]


CALLS: Mapping[str, Callable[[Client[Any]], object]] = {
    "start": lambda client: client.start("ada"),
    "send": lambda client: client.send("ada", {"type": "NEXT"}),
    "ask": lambda client: client.ask("ada", {"type": "NEXT"}),
    "get": lambda client: client.get("ada"),
    "outcome": lambda client: client.outcome("ada", "1", timeout=timedelta(0)),
    "wait_for": lambda client: client.wait_for("ada", timeout=timedelta(0)),
    "watch": lambda client: next(client.watch("ada")),
    "list": lambda client: client.list(),
    "dead_letters": lambda client: client.dead_letters("ada"),
    "redrive": lambda client: client.redrive("ada"),
    "delete": lambda client: client.delete("ada"),
    "export_snapshot": lambda client: client.export_snapshot("ada"),
    "import_snapshot": lambda client: client.import_snapshot(
        "ada", '{"value": "even", "status": "active", "context": {}}'
    ),
}


class TestInAnEventLoop:
    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.asyncio
    async def test_a_client_refuses_to_block_it(self, backend: SQLiteBackend, name: str) -> None:
        with pytest.raises(RuntimeError, match="use an AsyncClient"):
            CALLS[name](Client(machine, backend))
        assert not backend.queue.backlog()

    @pytest.mark.asyncio
    async def test_a_client_may_be_used_in_a_thread(self, backend: SQLiteBackend) -> None:
        client: Client[Any] = Client(machine, backend)
        await asyncio.to_thread(client.start, "ada")
        assert backend.queue.backlog()


@pytest.mark.asyncio
async def test_a_host_and_clients_share_a_loop(backend: SQLiteBackend, client: AsyncClient[Any]) -> None:
    async def work() -> None:
        with AsyncHost([machine], backend) as host:
            while True:
                await host.handle(await asyncio.to_thread(backend.queue.receive, 10, 0.2))

    working = asyncio.create_task(work())
    await client.start("ada")
    assert (await client.ask("ada", {"type": "NEXT"}, timeout=SOON)).value == "odd"
    working.cancel()
    await asyncio.wait([working])
