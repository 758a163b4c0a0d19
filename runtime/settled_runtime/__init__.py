"""Runs machines on a backend, whichever vendor's: clients, hosts, workers, leases, retries, the log.

Its law: it performs what the core decides, and decides nothing about a machine itself. All waiting is here.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled_runtime.async_host": "AsyncHost",
        "settled_runtime.async_client": "AsyncClient",
        "settled_runtime.client": "Client Instance",
        "settled_runtime.instance_reader": "EventOutcomeError InstanceUpdate",
        "settled_runtime.backends": "connect",
        "settled_runtime.codec": "Codec",
        "settled_runtime.coded_backend": "CodedBackend",
        "settled_runtime.compression": "Compression",
        "settled_runtime.dead_letter_queue": "DeadLetterQueue DroppedMessage",
        "settled_runtime.encryption": "Encryption generate_key",
        "settled_runtime.host": "Host",
        "settled_runtime.many": "Outgoing Sent",
        "settled_runtime.overdue": "WakeReport wake_overdue",
        "settled_runtime.recovery": "LeftMessage RecoveryReport recover_dropped",
        "settled_runtime.shutdown": "StopSignal",
        "settled_runtime.events": "ActionPerformed ActorAbandoned ActorFinished ActorStarted ClockSkewed"
        " Committed DeadLettered Emitted HostEvent Logged MachineNotServed Observer Postponed ReceiveFailed"
        " RecordAdjusted Redactor Released SuspectIsolated TurnEnded TurnFailed TurnHangs TurnStarted WorkerLost log"
        " log_with",
        "settled_runtime.composite": "CompositeBackend",
        "settled_runtime.worker": "Worker",
    },
)
