"""settled: XState v5 statecharts, run durably.

The pure core: it computes what a machine does next, and does nothing itself. Here are the names that authors of
machines and of hosts need; what authors of adapters need is in `settled.durable`.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled.analysis.check": "check",
        "settled.analysis.finding": "Finding",
        "settled.chart.actions": "EnqueueArgs assign cancel emit enqueue_actions forward_to log raise_ send_parent"
        " send_to spawn_child stop_child",
        "settled.chart.args": "Args",
        "settled.chart.chart": "Chart Configuration",
        "settled.chart.program": "compile_chart",
        "settled.chart.config_types": "MachineDict StateDict TransitionDict",
        "settled.chart.guards": "and_ not_ or_ state_in",
        "settled.chart.implementations": "ActionArgs Actor Call actor",
        "settled.chart.migrations": "Migration",
        "settled.chart.nodes": "Node Transition",
        "settled.chart.retry": "Backoff Retry",
        "settled.chart.snapshot": "Child Snapshot",
        "settled.chart.state_value": "StateValue",
        "settled.data": "ABSENT Json",
        "settled.diagram.dot": "dot",
        "settled.diagram.mermaid": "mermaid",
        "settled.durable.persisted_tree": "PersistedTree from_xstate_json to_xstate_json",
        "settled.durable.policy": "Policy TurnEnd",
        "settled.durable.redrive": "redrive",
        "settled.durable.turn": "turn",
        "settled.durable.window": "Outcome",
        "settled.errors": "AccessDeniedError BackendClosedError BackendConfigError BackendRefusedError"
        " BackendReplacedError CodecError ConflictError CredentialsError DefinitionError DefinitionProblem EventError"
        " IdReusedError LeaseLostError LogicError OutcomeUnknownError RecordError SettledError TooLargeError"
        " UnavailableError UnsupportedError VersionUnknownError",
        "settled.key": "Key",
        "settled.machine": "Machine Microstep",
        "settled.machine_setup": "Setup setup",
        "settled.progress": "Progress done_event error_event fold is_settled settle",
        "settled.step.effects": "Cancel Effect Emit Execute Invoke Log Raise Schedule Send Stop",
    },
)
