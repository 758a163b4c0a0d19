"""``settled get``: show one instance, without its machine."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from settled import Key
from settled.durable import Backend
from settled.durable.record import Watch
from settled_cli.arguments import AsJson, BackendUrl, CodecName, KeyText, Timeout
from settled_cli.backend import open_backend, parse_key
from settled_cli.errors import CommandError
from settled_cli.instance_view import InstanceView, load_view, state_path, wait_for
from settled_cli.output import print_facts, print_json


def get(
    key: KeyText,
    /,
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    until: Annotated[str | None, Parameter(help="Wait until this state is active; a dotted path.")] = None,
    timeout: Timeout = 30.0,
    json: AsJson = False,
) -> None:
    """Show the state of an instance, its timers, and what its open turn waits for."""
    parsed_key = parse_key(key)
    with open_backend(url, codec) as backend:
        if until is None:
            view = load_view(backend.store, parsed_key)
        else:
            view = _wait_for_state(backend, parsed_key, until, timeout)
    if view is None:
        raise CommandError(
            f"{parsed_key}: there is no such instance. Run a worker if it was just started, or: "
            f"settled start {parsed_key}"
        )
    if json:
        print_json(view.to_json())
    else:
        print_facts(_facts(view))


def _wait_for_state(backend: Backend, key: Key, state: str, timeout: float) -> InstanceView:
    """Wait until `state` is active in `key`.

    Raises:
        CommandError: the instance has ended or is halted in another state, or the time is over.
    """

    def find(view: InstanceView | None) -> InstanceView | None:
        if view is None or view.is_in(state):
            return view
        status = view.stored.index.status
        if status not in ("active", "absent"):
            raise CommandError(f"{key} is {status} in {state_path(view.value)}, and will not be in {state}")
        return None

    return wait_for(backend, key, find, timeout, f"{key} to be in {state}")


def _facts(view: InstanceView) -> list[tuple[str, Any]]:
    shown, snapshot = view.to_json(), view.snapshot or {}
    return [
        ("key", str(view.key)),
        ("state", state_path(view.value)),
        ("status", view.stored.index.status),
        ("halted", shown["halted"]),
        ("tags", ", ".join(view.stored.index.tags)),
        ("context", snapshot.get("context")),
        ("output", snapshot.get("output")),
        ("error", snapshot.get("error")),
        ("turn", _describe_turn(view.turn)),
        ("failing", shown["failing"]),
        ("watched", _describe_watch(view.record.watch)),
        *(("timer", _describe_timer(timer)) for timer in view.timers),
        ("updated", str(shown["updated"])),
        ("record", f"version {view.stored.version}, {view.size} bytes"),
    ]


def _describe_turn(turn: dict[str, Any] | None) -> str | None:
    if turn is None:
        return None
    actors = [f"{actor['src']}, attempt {actor['attempt']}{_describe_losses(actor)}" for actor in turn["actors"]]
    # A state that is not settled can have a delay: its turn stays open with no actor, until the timer fires.
    until = f", suspended until {turn['suspended_until']}" if "suspended_until" in turn else ""
    return f"open, waiting for {' and '.join(actors) or 'a timer'}{until}"


def _describe_losses(actor: dict[str, Any]) -> str:
    return f", workers lost: {actor['losses']}" if "losses" in actor else ""


def _describe_watch(watch: Watch | None) -> str | None:
    if watch is None:
        return None
    what = f"the actor {watch.actor}" if watch.actor else "the machine's own functions"
    alone = ", alone" if watch.is_alone else ""
    return f"a worker runs {what} for {watch.message_id}{alone}, or was lost with it"


def _describe_timer(timer: dict[str, Any]) -> str:
    receiver = f" to {timer['to']}" if "to" in timer else ""
    return f"{timer['due']}: {timer['event']['type']}{receiver}"
