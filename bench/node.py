"""The real XState beside us: a Node process that runs ``xstate.mjs`` and is asked for one round at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from bench.measure import Time

HERE = Path(__file__).parent


class Missing(Exception):
    """There is no XState to compare with; the message says why."""


@frozen
class XState:
    """The process: a request is a line of JSON, and so is the answer."""

    requests: IO[str]
    answers: IO[str]

    def ask(self, **request: Any) -> Any:
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()
        answer = self.answers.readline()
        if not answer:
            raise Missing("Node ended before it had answered")
        return json.loads(answer)

    def versions(self) -> dict[str, str]:
        return dict(self.ask(measure="versions"))

    def timed(self, machine: str, measure: str, events: int) -> Time:
        answer = self.ask(machine=machine, measure=measure, events=events)
        return Time(answer["cpu"], answer["wall"])

    def final(self, machine: str, events: int) -> Any:
        return self.ask(machine=machine, measure="final", events=events)


@contextmanager
def xstate() -> Generator[XState]:
    """A running XState.

    Raises:
        Missing: there is no Node, or XState cannot be installed.
    """
    node = installed()
    with subprocess.Popen(
        [node, str(HERE / "xstate.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise Missing("Node has no pipes")
        yield XState(process.stdin, process.stdout)
        process.stdin.close()


def installed() -> str:
    """The path of Node, once XState is there for it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        raise Missing("there is no node on the PATH")
    if not (HERE / "node_modules" / "xstate").exists():
        if npm is None:
            raise Missing("there is no npm on the PATH to install XState with")
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise Missing(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return node


def cold(machine: str) -> float:
    """Milliseconds of CPU time that a fresh Node needs to compile `machine` and take a first event."""
    done = subprocess.run(
        [installed(), str(HERE / "xstate.mjs"), "cold", machine], capture_output=True, encoding="utf-8", check=True
    )
    return float(done.stdout)
