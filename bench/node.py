"""The real XState: a Node process that runs ``xstate.mjs``, one round for each request."""

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


class XStateMissingError(Exception):
    """There is no XState to compare with; the message says why."""


@frozen
class XState:
    """The Node process. A request is a line of JSON, and so is its answer."""

    requests: IO[str]
    answers: IO[str]

    def ask(self, **request: Any) -> Any:
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()
        answer = self.answers.readline()
        if not answer:
            raise XStateMissingError("Node ended before it answered")
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
    """Run XState in a Node process within this block.

    Raises:
        XStateMissingError: there is no Node, or XState cannot be installed.
    """
    node = install()
    with subprocess.Popen(
        [node, str(HERE / "xstate.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise XStateMissingError("Node has no pipes")
        yield XState(process.stdin, process.stdout)
        process.stdin.close()


def install() -> str:
    """Install XState if it is missing, and return the path of Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        raise XStateMissingError("there is no node on the PATH")
    if not (HERE / "node_modules" / "xstate").exists():
        if npm is None:
            raise XStateMissingError("there is no npm on the PATH to install XState with")
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise XStateMissingError(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return node


def cold(machine: str) -> float:
    """Measure the CPU time that a new Node takes to compile `machine` and process an event, in milliseconds."""
    done = subprocess.run(
        [install(), str(HERE / "xstate.mjs"), "cold", machine], capture_output=True, encoding="utf-8", check=True
    )
    return float(done.stdout)
