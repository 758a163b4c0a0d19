"""Keys: how an effect is named, and that no key ever names two.

The form of a key is known here and nowhere else in the simulator. That one key never stands for two effects is asked
without knowing its form: whatever is performed or sent is compared with what was done before under that key, over all
lives of an instance and past any restore.
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
    """What distinguishes the keys of the events that came into `record` with its newest commit."""
    return record.turn.nonce if record.turn else record.nonce


def effect_key(key: Key, origin: Origin, ordinal: int, index: int) -> str:
    """The key of effect number `index` of the event number `ordinal` of the life, which was accepted under `origin`."""
    return idempotency_key(key, origin, ordinal, index)


def predicted_child_instance(key: Key, id: str) -> str:
    """Under which name somebody who knows the code would expect the actor `id`, which `key` starts at its own start."""
    return f"{key.instance}{CHILD_MARKER}{id}.1.0.0"


def kind_of(effect: KeyedAction) -> str:
    """What an action is called in the world."""
    return effect.type if isinstance(effect, Execute) else type(effect).__name__.lower()


def payload_of(effect: KeyedAction) -> str:
    """What an action does in the world, whenever it is performed."""
    match effect:
        case Execute(_, type, params, _, event):
            return write([type, params, event])
        case Emit(_, event):
            return write(["emit", event])
        case Log(_, value, label):
            return write(["log", value, label])


@define(eq=False)
class EffectKeys:
    """What each key has stood for so far."""

    report: Callable[[str, str], None]
    payloads: dict[str, Json] = field(factory=dict[str, Json])

    def use(self, name: str, payload: str) -> None:
        """Something is done in the world under the key `name`."""
        known = self.payloads.setdefault(name, payload)
        if known != payload:
            self.report("E2", f"{name} is the key of {known}, and now of {payload}: whoever knows it drops the second")
