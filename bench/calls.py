"""``python -m bench calls``: how much code one event runs through.

One event with one assign and one action, on the memory backend, with everything warm: how many functions of settled's
own are called, and how often the next one is in another module. A generator that is resumed counts as called, and so
does a comprehension, which newer Pythons inline. A second count is of what a reader has to follow: without
comprehensions, and without the constructors of values. The numbers do not depend on the machine, so a test holds them
below limits.
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
    def to_read(self) -> Trace:
        """The calls that a reader has to follow."""
        return Trace([call for call in self.calls if not call[1].endswith(("comp>", "genexpr>", "__init__"))])

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
    for what, each in (("all", trace), ("to read", trace.to_read)):
        print(f"{what}: {len(each.calls)} calls, {each.changes} changes of module")
    if "--trace" in arguments:
        for module, name in trace.calls:
            print(module, name)
