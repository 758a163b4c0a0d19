"""Idempotency keys: how the oracle predicts them, and `EffectKeys`, which checks that none is ever used twice.

Only this module knows the form of a key. The check does not: it compares whatever is performed or sent with what was
done under the same key before, across deletions, imports and restores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field

from settled import Json, Key
from settled.data import write
from settled.durable import Record
from settled.durable.messages import CHILD_MARKER
from settled.durable.record import idempotency_key
from settled.step.effects import Emit, Execute, Log

KeyedAction: TypeAlias = Execute | Emit | Log
Origin: TypeAlias = str


def origin_of(record: Record) -> Origin:
    """Return the nonce in the keys of the events that the newest commit of `record` accepted."""
    return record.turn.nonce if record.turn else record.nonce


def effect_key(key: Key, origin: Origin, ordinal: int, index: int) -> str:
    """Return the key of the effect `index` of the event number `ordinal`, which was accepted under `origin`."""
    return idempotency_key(key, origin, ordinal, index)


def predicted_child_instance(key: Key, id: str) -> str:
    """Return the instance id that an attacker who knows the code would guess for the child `id` of a fresh `key`."""
    return f"{key.instance}{CHILD_MARKER}{id}.1.0.0"


def kind_of(effect: KeyedAction) -> str:
    """Return the name under which an action is logged."""
    return effect.type if isinstance(effect, Execute) else type(effect).__name__.lower()


def payload_of(effect: KeyedAction) -> str:
    """Return what an action does, as text; it is the same at each attempt."""
    match effect:
        case Execute(_, type, params, _, event):
            return write([type, params, event])
        case Emit(_, event):
            return write(["emit", event])
        case Log(_, value, label):
            return write(["log", value, label])


@define(eq=False)
class EffectKeys:
    """The payload that each key was first used for."""

    report: Callable[[str, str], None]
    payloads: dict[str, Json] = field(factory=dict[str, Json])

    def use(self, name: str, payload: str) -> None:
        """Record that `payload` is performed or sent under the key `name`; report E2 if the key had another payload."""
        known = self.payloads.setdefault(name, payload)
        if known != payload:
            self.report("E2", f"{name} is the key of {known}, and now of {payload}, which a receiver would drop")
