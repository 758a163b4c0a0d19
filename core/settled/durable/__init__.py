"""Durable execution of machines, without I/O: the ports of a backend, the record, and the turn as commands.

It exports the names that adapter authors need, and those needed to drive `settled.turn` directly.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled.durable.commands": "ActionsPerformed ActorCall ActorEnded ActorResult Answer Command"
        " Commands DeadLettersLoaded Done EndIsolation Extend Finish Isolate Isolated Load LoadDeadLetters Loaded"
        " PerformActions Release ReleaseReason RunActors",
        "settled.durable.headers": "check_headers headers_from_text headers_to_text",
        "settled.durable.import_export": "export_tree import_tree",
        "settled.durable.limits": "MAX_MESSAGE_BYTES",
        "settled.durable.malformed": "malformed_message",
        "settled.durable.messages": "Event Message Start Timer encode",
        "settled.durable.overdue": "Overdue find_overdue",
        "settled.durable.ports": "DELETED STATUSES Backend Backlog Capability ClosedOnExit CommitConflictError"
        " DeadLetter Delivery FinishResult Index Position Queue Store Stored Timers Traits Write",
        "settled.durable.record": "PerformAction Record",
        "settled.durable.recovery": "Recovered recover",
        "settled.durable.record_json": "record_from_json",
        "settled.durable.record_view": "RecordView",
    },
)
