"""``python -m bench calls``: how much code one event runs through.

One event with one assign and one action, on the memory backend, with everything warm: how many functions of settled's
own are called, and how often that leads from one module to another. A generator that is resumed counts as called.
These numbers do not depend on the machine, so a test holds them below a limit.
"""

from __future__ import annotations

import sys
from types import FrameType

from attrs import define, field

from settled import assign, setup
from settled_local.memory import MemoryBackend
from settled_runtime import Client, Host

MACHINE = setup(
    actions={"add": assign(count=lambda a: a.context["count"] + 1), "tell": lambda a: None},
).machine(
    {
        "id": "counter",
        "context": {"count": 0},
        "initial": "open",
        "states": {"open": {"tags": ["settled"], "on": {"ADD": {"actions": ["add", "tell"]}}}},
    }
)


@define
class Trace:
    """The functions that were called, each by its module and name, in order."""

    calls: list[tuple[str, str]] = field(factory=list[tuple[str, str]])

    @property
    def changes(self) -> int:
        """How often a function was called from a function of another module before it."""
        modules = [module for module, _ in self.calls]
        return sum(module != before for module, before in zip(modules[1:], modules, strict=False)) + 1

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; for `sys.setprofile`."""
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("settled"):
            self.calls.append((module, frame.f_code.co_qualname))


def trace_of_one_event() -> Trace:
    """Return the trace of one event: of its delivery and its turn."""
    backend, trace = MemoryBackend(), Trace()
    client = Client(MACHINE, backend)
    with Host([MACHINE], backend) as host:
        client.start("one")
        for _ in range(5):  # plans, caches and imports
            client.send("one", {"type": "ADD"})
            host.handle(backend.queue.receive(10))
        client.send("one", {"type": "ADD"})
        before = sys.getprofile()
        sys.setprofile(trace.profile)
        try:
            host.handle(backend.queue.receive(10))
        finally:
            sys.setprofile(before)
    return trace


def main(arguments: list[str]) -> None:
    """Print the counts; with ``--trace`` also every call."""
    trace = trace_of_one_event()
    print(f"one event: {len(trace.calls)} calls, {trace.changes} changes of module")
    if "--trace" in arguments:
        for module, name in trace.calls:
            print(module, name)
