"""``python -m bench calls``: how much code one event runs through.

One event on the memory backend, with everything warm, from the call of `Client.send` to the end of its turn: how many
functions of settled's own are called, and how often the next one is in another module. A generator that is resumed
counts as called, and so do a comprehension, which newer Pythons inline, and the constructor of a value. The numbers do
not depend on the machine, so a test holds them below limits.
"""

from __future__ import annotations

import sys
from types import FrameType

from attrs import define, field

from settled import assign, setup
from settled_local.memory import MemoryBackend
from settled_runtime import Client, Host

EVENTS = {"ADD": "an event that assigns", "TELL": "an event that assigns and performs an action"}

MACHINE = setup(
    actions={"add": assign(count=lambda a: a.context["count"] + 1), "tell": lambda a: None},
).machine(
    {
        "id": "counter",
        "context": {"count": 0},
        "initial": "open",
        "states": {
            "open": {"tags": ["settled"], "on": {"ADD": {"actions": ["add"]}, "TELL": {"actions": ["add", "tell"]}}}
        },
    }
)


@define
class Trace:
    """The functions that were called, each by its module and name, in order."""

    calls: list[tuple[str, str]] = field(factory=list[tuple[str, str]])

    @property
    def changes(self) -> int:
        """How often the next function is in another module."""
        modules = [module for module, _ in self.calls]
        return sum(module != before for module, before in zip(modules[1:], modules, strict=False))

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; for `sys.setprofile`."""
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("settled"):
            self.calls.append((module, frame.f_code.co_qualname))


def trace_of_one_event(type: str) -> Trace:
    """Return the trace of one event of `type`: of its sending, its delivery and its turn."""
    backend, trace = MemoryBackend(), Trace()
    client = Client(MACHINE, backend)
    with Host([MACHINE], backend) as host:
        client.start("one")
        for _ in range(5):  # plans, caches and imports
            client.send("one", {"type": type})
            host.handle(backend.queue.receive(10))
        before = sys.getprofile()
        sys.setprofile(trace.profile)
        try:
            client.send("one", {"type": type})
            host.handle(backend.queue.receive(10))
        finally:
            sys.setprofile(before)
    return trace


def main(arguments: list[str]) -> None:
    """Print the counts; with ``--trace`` also every call."""
    for type, what in EVENTS.items():
        trace = trace_of_one_event(type)
        print(f"{what}: {len(trace.calls)} calls, {trace.changes} changes of module")
        if "--trace" in arguments:
            for module, name in trace.calls:
                print(module, name)
