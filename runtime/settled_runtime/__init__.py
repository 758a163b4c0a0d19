"""The vendor-free code that waits: hosts, workers, clients, leases, retries.

Its law: it performs what the core decides, and decides nothing about a machine itself.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled_runtime.async_host": "AsyncHost",
        "settled_runtime.client": "Client Instance NotTaken",
        "settled_runtime.backends": "connect",
        "settled_runtime.host": "Host",
        "settled_runtime.shutdown": "Interruption",
        "settled_runtime.events": "ActionPerformed CallBegan CallEnded ClockSkewed Committed Conflicted Emitted Logged"
        " Noted Notice Observer Released SetAside TurnBegan TurnEnded TurnRaised log",
        "settled_runtime.composite": "Separate",
        "settled_runtime.worker": "Worker",
    },
)
