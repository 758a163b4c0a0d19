"""The core alone, in a host of one's own: a dict for a store, and no runtime.

`take` is the whole host. It is not durable, and a crash in the middle of it repeats what it had done; what a durable
host must add is what the package `settled_runtime` does.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from settled import Actor, Call, Json, Key, actor, done_event, error_event, settle, setup
from settled.progress import Progress
from settled.step.effects import Invoke


def charge(input: dict[str, Any], call: Call) -> str:
    """Stands for a payment."""
    if input["card"].startswith("0"):
        raise ValueError("this card is not accepted")
    return f"paid with {input['card']}"


order = setup(actors={"charge": actor(charge, input=lambda a: {"card": a.event["card"]})}).machine(
    {
        "id": "order",
        "initial": "basket",
        "states": {
            "basket": {"tags": ["settled"], "on": {"PAY": "charging"}},
            "charging": {"invoke": {"id": "charge", "src": "charge", "onDone": "paid", "onError": "basket"}},
            "paid": {"tags": ["settled"], "on": {"SHIP": "shipped"}},
            "shipped": {"type": "final"},
        },
    }
)

store: dict[str, str] = {}


def take(instance: str, event: Json) -> None:
    """Take `event` through `instance`, to where it settles. The first event of an instance is its input."""
    way = settle(order, order.load(store[instance]) if instance in store else None, event)
    reports: list[Json] = []
    try:
        progress = next(way)
        while True:
            reports += perform(instance, progress)
            progress = way.send(reports.pop(0) if reports else None)
    except StopIteration as settled:
        store[instance] = order.dump(settled.value)


def perform(instance: str, progress: Progress) -> list[Json]:
    """Run the actors that were invoked, one after the other. Returns what the machine is told of them."""
    reports: list[Json] = []
    for effect in progress.effects:
        if isinstance(effect, Invoke) and isinstance(logic := order.actor(effect.src), Actor):
            call = Call(Key(order.id, instance), uuid4().hex, 1, None, 0, lambda: False)
            try:
                reports.append(done_event(effect.id, logic.function(effect.input, call)))
            except Exception as error:
                reports.append(error_event(effect.id, {"name": type(error).__name__, "message": str(error)}))
    return reports


if __name__ == "__main__":
    for event in (None, {"type": "PAY", "card": "0000"}, {"type": "PAY", "card": "4711"}, {"type": "SHIP"}):
        take("42", event)
        print(f"{event} -> {store['42']}")
