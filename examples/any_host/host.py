"""A host of your own: the core alone, with a dict as its store.

`handle` is the whole host. It is not durable: after a crash in the middle of it, the event must be handled again, and
repeats the effects so far. The package `settled_runtime` adds what a durable host needs.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from settled import Actor, Call, Json, Key, actor, done_event, error_event, settle, setup
from settled.progress import Progress
from settled.step.effects import Invoke


def charge(input: dict[str, Any], call: Call) -> str:
    """Stand in for a payment service."""
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


def handle(instance: str, event: Json) -> None:
    """Apply `event` to `instance` until it has settled. The first event of an instance is its input."""
    steps = settle(order, order.load(store[instance]) if instance in store else None, event)
    results: list[Json] = []
    try:
        progress = next(steps)
        while True:
            results += run_actors(instance, progress)
            progress = steps.send(results.pop(0) if results else None)
    except StopIteration as settled:
        store[instance] = order.dump(settled.value)


def run_actors(instance: str, progress: Progress) -> list[Json]:
    """Run the actors that a step invoked, one after the other, and return their results as events."""
    results: list[Json] = []
    for effect in progress.effects:
        if isinstance(effect, Invoke) and isinstance(logic := order.actor(effect.src), Actor):
            call = Call(Key(order.id, instance), uuid4().hex, 1, None, 0, lambda: False)
            try:
                results.append(done_event(effect.id, logic.function(effect.input, call)))
            except Exception as error:
                results.append(error_event(effect.id, {"name": type(error).__name__, "message": str(error)}))
    return results


if __name__ == "__main__":
    for event in (None, {"type": "PAY", "card": "0000"}, {"type": "PAY", "card": "4711"}, {"type": "SHIP"}):
        handle("42", event)
        print(f"{event} -> {store['42']}")
