"""The supervisor: runs a storm in processes, strikes its workers and clients, and collects what remains.

While the storm lasts it never calls the backend, as a frozen worker may hold the lock of its file.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from attrs import define, evolve, field

from bench.storm.audit import Instance, Remains, is_guarded
from bench.storm.hostile import OWN, UNSERVED
from bench.storm.journals import Attempted, Performed, Received, Sent, Struck, now
from bench.storm.machine import version_2
from bench.storm.settings import Settings
from bench.storm.workers import WORKERS_LOG, Workers
from settled.durable import Backend, DeadLetter
from settled_runtime import Client, connect
from settled_runtime.client import Instance as Row

TICK = 0.02
"""The seconds between two looks at all processes."""

STRIKES_PER_LEASE = 3
"""How many processes are struck within a lease, on average."""

DEPLOY = (0.4, 0.7)
"""When the deploy of version 2 begins and ends, as shares of the storm."""

PATIENCE, LEASES_OF_PATIENCE = 60.0, 20
"""For how long instances may still take their events after the storm: so many seconds, and so many leases."""

MORE_THAN_ALL = 1_000_000
"""More than there are instances."""


@define(eq=False)
class Storm:
    """A storm.

    Attributes:
        settings: how large it is.
        workers: its workers.
        clients: its clients, and the hostile one as the last.
    """

    settings: Settings
    random: Random
    workers: Workers
    clients: list[subprocess.Popen[bytes]] = field(factory=list[subprocess.Popen[bytes]])

    def run(self) -> Remains:
        """Run the storm to its end, and return what remains."""
        names = {event.instance for event in self.settings.plan()}
        while len(self.workers.serving) < self.settings.workers:
            self._tick_for(TICK)
        self.settings = evolve(self.settings, began=now())
        self._send_and_strike()
        self.workers.is_over = True
        with connect(self.settings.url) as backend:
            self._drain(backend, [name for name in names if not is_guarded(name)])
            self.workers.is_mended = True
            self.workers.end()
            self._drain(backend, names)
            self.workers.end()
            return self._remains(backend)

    def close(self) -> None:
        """Kill whatever still runs."""
        self.workers.close()
        for client in self.clients:
            if client.poll() is None:
                client.kill()
                client.wait()

    def _send_and_strike(self) -> None:
        """Let clients send and strike processes, until the time is over and all is sent."""
        settings, end = self.settings, self.settings.began + self.settings.seconds
        numbers = [str(number) for number in range(settings.clients)]
        self.clients += [self._client("bench.storm.load", number) for number in numbers]
        self.clients.append(self._client("bench.storm.hostile"))
        strikes = self._moments(settings.lease / STRIKES_PER_LEASE)
        first, last = (settings.began + settings.seconds * share for share in DEPLOY)
        pause = (last - first) / settings.workers
        deploys = [(first + number * pause, slot) for number, slot in enumerate(self.workers.slots)]
        while now() < end or any(client.poll() is None for client in self.clients):
            self.workers.tick()
            while deploys and now() >= deploys[0][0]:
                self.workers.deploy(deploys.pop(0)[1])
            while now() >= strikes[0] and now() < end:
                strikes.pop(0)
                self._strike()
            time.sleep(TICK)

    def _moments(self, mean: float) -> list[float]:
        """Return random moments until after the end, `mean` seconds apart on average."""
        moments = [self.settings.began]
        while moments[-1] < self.settings.began + self.settings.seconds:
            moments.append(moments[-1] + self.random.expovariate(1 / mean))
        return moments

    def _strike(self) -> None:
        what = self.random.choices((self.workers.kill, self.workers.freeze, self._kill_client), (0.6, 0.3, 0.1))[0]
        what()

    def _kill_client(self) -> None:
        number = self.random.randrange(self.settings.clients)
        if self.clients[number].poll() is None:
            self.settings.journals.write(Struck(now(), "client killed", number))
            self.clients[number].kill()
            self.clients[number].wait()
            self.clients[number] = self._client("bench.storm.load", str(number))

    def _client(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (Path(self.settings.folder) / "clients.log").open("ab") as log:
            command = [sys.executable, "-m", module, *arguments]
            return subprocess.Popen(command, env=self.settings.environment(), stdout=log, stderr=log)

    def _drain(self, backend: Backend, names: Iterable[str]) -> None:
        """Wait until the instances `names` have taken their events, but not for ever."""
        counts = {event.instance: event.n for event in self.settings.plan()}
        waiting = sorted(set(names))
        client = Client(version_2, backend)
        end = now() + PATIENCE + LEASES_OF_PATIENCE * self.settings.lease
        while waiting and now() < end:
            self._tick_for(0.5)
            halted = {row.id for row in client.list(status="halted", limit=MORE_THAN_ALL)}
            if self.workers.is_mended:
                self._redrive(client, [name for name in halted if is_guarded(name)])
            waiting = [
                name
                for name in waiting
                if not _has_taken(client, name, counts[name]) and (name not in halted or is_guarded(name))
            ]

    def _redrive(self, client: Client[Any], names: Iterable[str]) -> None:
        """Do what an operator does when a machine has been mended: let halted instances go on."""
        for name in names:
            client.redrive(name)
            self.settings.journals.write(Struck(now(), "redriven", 0))

    def _tick_for(self, seconds: float) -> None:
        end = now() + seconds
        while now() < end:
            self.workers.tick()
            time.sleep(TICK)

    def _remains(self, backend: Backend) -> Remains:
        settings, journals = self.settings, self.settings.journals
        client = Client(version_2, backend)
        names = {event.instance for event in settings.plan()}
        rows = client.list(limit=MORE_THAN_ALL)
        log = (Path(settings.folder) / WORKERS_LOG).read_text(errors="replace")
        return Remains(
            plan=settings.plan(),
            instances={row.id: _instance(client, row) for row in rows if row.id in names},
            sent=list(journals.read(Sent)),
            performed=list(journals.read(Performed)),
            received=list(journals.read(Received)),
            attempted=list(journals.read(Attempted)),
            struck=list(journals.read(Struck)),
            waiting=sum(each.messages for each in backend.queue.backlog() if each.machine != UNSERVED),
            ends=dict(self.workers.ends),
            hangs=[line for line in log.splitlines() if ": hangs for " in line],
            began=settings.began,
            starts=tuple(self.workers.starts),
            longest_lease=settings.longest_lease,
        )


def run(settings: Settings) -> Remains:
    """Run a storm, and return what remains."""
    random = Random(settings.seed)
    storm = Storm(settings, random, Workers(settings, random))
    # An exception, unlike the end of this process, ends its workers too.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return storm.run()
    finally:
        storm.close()
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(f"stopped by signal {number}")


def _has_taken(client: Client[Any], name: str, count: int) -> bool:
    snapshot = client.get(name)
    return snapshot is not None and len(snapshot.context["taken"]) >= count and snapshot.has_tag("settled")


def _instance(client: Client[Any], row: Row[Any]) -> Instance:
    context = row.snapshot.context if row.snapshot else {"taken": (), "failures": ()}
    failures = tuple((n, name) for n, name in context["failures"])
    letters = tuple(each.reason for each in client.dead_letters(row.id) if not _is_hostile(each))
    return Instance(tuple(context["taken"]), failures, row.status, letters)


def _is_hostile(dead_letter: DeadLetter) -> bool:
    return OWN in dead_letter.message.id or OWN in dead_letter.message.body
