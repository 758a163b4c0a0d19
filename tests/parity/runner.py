"""Runs parity cases through settled: JSON lines in, JSON lines out, as ``oracle.mjs`` does through XState.

python -m tests.parity.runner < cases.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never

from settled import ABSENT, DefinitionError, Machine, SettledError, Snapshot, setup
from settled.data import is_object
from settled.step.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from tests.parity.vocabulary import Vocabulary, evaluated, has_look_up

AnyMachine = Machine[Any]
AnySnapshot = Snapshot[Any]


def run(case: Mapping[str, Any], *, is_stored: bool = False) -> dict[str, Any]:
    """The trace of `case`. `is_stored`: the snapshot is dumped and loaded between any two events."""
    try:
        machine = machine_of(case["config"])
    except DefinitionError as error:
        return {"invalid": failure(error)}
    steps: list[dict[str, Any]] = []  # what came before a failure stays
    try:
        steps.extend(trace(machine, case, is_stored))
    except SettledError as error:
        steps.append({"error": {"thrown": True, **failure(error)}})
    return {"steps": steps}


def machine_of(config: Mapping[str, Any]) -> AnyMachine:
    """The machine of a case's config."""
    vocabulary = Vocabulary()
    return built(vocabulary, config, lambda: vocabulary.actors)


def built(vocabulary: Vocabulary, config: Mapping[str, Any], actors: Callable[[], Mapping[str, Any]]) -> AnyMachine:
    """The machine of `config`, in the words of `vocabulary`; `actors` are asked for once these are known."""
    plain = vocabulary.node(config)
    context = plain.get("context")

    def create_context(input: Any) -> Any:
        return evaluated(context, {"$ctx": None, "$ev": None, "$input": input or {}})

    return setup(
        create_context=create_context if has_look_up(context) else None,
        guards=vocabulary.guards,
        actions=vocabulary.actions,
        actors=actors(),
        delays=vocabulary.delays,
    ).machine(plain)


def trace(machine: AnyMachine, case: Mapping[str, Any], is_stored: bool) -> Iterator[dict[str, Any]]:
    """Each step of `case`, the start first."""
    snapshot, step = first(machine, case)
    yield step
    for event in case.get("events", ()):
        if snapshot.status != "active":
            yield {**seen(snapshot), "actions": [], "ignored": True, **raised_at_start(step)}
            continue
        before = machine.load(machine.dump(snapshot)) if is_stored else snapshot
        snapshot, effects = machine.transition(before, event)
        step = {**seen(snapshot), "actions": actions(effects), **probed(machine, snapshot, case)}
        if case.get("micro"):
            step["microsteps"] = microsteps(machine.microsteps(before, event))
        yield step


def first(machine: AnyMachine, case: Mapping[str, Any]) -> tuple[AnySnapshot, dict[str, Any]]:
    if "from" in case:
        start = case["from"]
        snapshot = machine.resolve_state(start["value"], start.get("context", ABSENT))
        return snapshot, {**seen(snapshot), "actions": [], **probed(machine, snapshot, case)}
    input = case.get("input")
    snapshot, effects = machine.initial_transition(input)
    step = {**seen(snapshot), "actions": actions(effects), **probed(machine, snapshot, case)}
    if snapshot.status == "error" and not machine.initial_microsteps(input):
        step["error"] = {"$error": snapshot.error["name"], "message": snapshot.error["message"]}
    elif case.get("micro"):
        step["microsteps"] = microsteps(machine.initial_microsteps(input))
    return snapshot, step


def raised_at_start(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the error of a machine that raised at its start; the snapshot keeps it through all events."""
    error = step.get("error")
    return {"error": error} if is_object(error) and "$error" in error else {}


def microsteps(steps: Sequence[tuple[AnySnapshot, tuple[Effect, ...]]]) -> list[dict[str, Any]]:
    return [{"value": snapshot.value, "actions": actions(effects)} for snapshot, effects in steps]


def probed(machine: AnyMachine, snapshot: AnySnapshot, case: Mapping[str, Any]) -> dict[str, Any]:
    probe = case.get("probe")
    if not probe or snapshot.status != "active":
        return {}
    asked: dict[str, Callable[[Any], bool]] = {
        "can": lambda event: machine.can(snapshot, event),
        "matches": snapshot.matches,
        "hasTag": snapshot.has_tag,
    }
    return {name: [ask(item) for item in probe[name]] for name, ask in asked.items() if name in probe}


def seen(snapshot: AnySnapshot) -> dict[str, Any]:
    """`snapshot` as a trace shows it."""
    view: dict[str, Any] = {
        "value": snapshot.value,
        "context": snapshot.context,
        "status": snapshot.status,
        "tags": sorted(snapshot.tags),
    }
    if snapshot.output is not ABSENT:
        view["output"] = snapshot.output
    if snapshot.status == "error":
        view["error"] = None if snapshot.error is ABSENT else snapshot.error
    if snapshot.children:
        view["children"] = sorted(snapshot.children)
    if snapshot.history:
        view["history"] = {id: sorted(nodes) for id, nodes in snapshot.history.items()}
    if snapshot.meta:
        view["meta"] = snapshot.meta
    return view


def actions(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    return [action(effect) for effect in effects]


def action(effect: Effect) -> dict[str, Any]:
    """`effect` as XState lists it."""
    params: Any
    match effect:
        case Execute():
            type, params = effect.type, effect.params
        case Invoke(id=id, src=src, input=input, system_id=system_id):
            type, params = "xstate.spawnChild", {"id": id, "src": src, "input": input, "systemId": system_id}
        case Stop():
            type, params = "xstate.stopChild", {"id": effect.id}
        case Send(to=to, event=event, id=id, delay=delay):
            type, params = "xstate.sendTo", {"to": to, "event": event, "id": id, "delay": milliseconds(delay)}
        case Schedule(event=event, id=id, delay=delay):
            type, params = "xstate.raise", {"event": event, "id": id, "delay": milliseconds(delay)}
        case Raise(event=event, id=id):
            type, params = "xstate.raise", {"event": event, "id": id}
        case Cancel():
            type, params = "xstate.cancel", {"sendId": effect.id}
        case Emit():
            type, params = "xstate.emit", {"event": effect.event}
        case Log():
            type, params = "xstate.log", {"value": effect.value, "label": effect.label}
        case _:
            assert_never(effect)
    return {"type": type} if params is None else {"type": type, "params": params}


def milliseconds(delay: timedelta | None) -> float | None:
    return None if delay is None else delay / timedelta(milliseconds=1)


def failure(error: Exception) -> dict[str, str]:
    return {"$error": type(error).__name__, "message": str(error)}


def main() -> None:
    """Answer each case of stdin with its trace."""
    for line in sys.stdin:
        if line.strip():
            case = json.loads(line)
            answer = {"id": case["id"], **run(case)} if "id" in case else run(case)
            sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
