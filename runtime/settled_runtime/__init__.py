"""The vendor-free code that waits: hosts, workers, clients, leases, retries.

Its law: it performs what the core decides, and decides nothing about a machine itself.

Its names are imported from their modules when they are first asked for: a `Host` needs no event loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settled_runtime.async_host import AsyncHost
    from settled_runtime.client import Client, Instance, NotTaken
    from settled_runtime.connecting import connect
    from settled_runtime.host import Host
    from settled_runtime.interruption import Interruption
    from settled_runtime.observe import Notice, Observer, log
    from settled_runtime.separate import Separate
    from settled_runtime.worker import Worker

__all__ = [
    "AsyncHost",
    "Client",
    "Host",
    "Instance",
    "Interruption",
    "NotTaken",
    "Notice",
    "Observer",
    "Separate",
    "Worker",
    "connect",
    "log",
]

_HOMES = {
    "AsyncHost": "async_host",
    "Client": "client",
    "Instance": "client",
    "NotTaken": "client",
    "connect": "connecting",
    "Host": "host",
    "Interruption": "interruption",
    "Notice": "observe",
    "Observer": "observe",
    "log": "observe",
    "Separate": "separate",
    "Worker": "worker",
}
"""In which module each name is at home: the imports above, for the running program."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
