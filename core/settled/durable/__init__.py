"""Run a machine durably, still without I/O: the ports of a backend, the record, and the turn as commands.

Here are the names that authors of adapters need, and those who drive `settled.turn` themselves.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled.durable.commands": "ActionsPerformed ActorCall ActorEnded ActorResult Answer CachedRecord Command"
        " Commands DeadLettersLoaded Done Extend Finish Load LoadDeadLetters Loaded PerformActions Release RunActors",
        "settled.durable.import_export": "export_tree import_tree",
        "settled.durable.messages": "Event Message Start Timer encode",
        "settled.durable.ports": "DELETED Backend Capability DeadLetter Delivery Finished Index Position Queue Store"
        " Stored Timers Traits Write",
        "settled.durable.record": "PerformAction Record",
        "settled.durable.record_json": "record_from_json",
    },
)
