"""The vendor-free code that waits: hosts, workers, clients, leases, retries.

Its law: it performs what the core decides, and decides nothing about a machine itself.
"""

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
