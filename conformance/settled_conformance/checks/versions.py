"""T6, V2, V3: what a deploy changes, and what comes at the wrong time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settled import Machine, assign, setup
from settled.data import parse
from settled.durable import Timer
from settled.durable.record import due_message
from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event, key_of
from settled_conformance.fixture import Bench

DAY = 24 * 3600.0


def _reminder(delay: float, version: str | None = None, **logic: Any) -> Machine[Any, Any]:
    config: Mapping[str, Any] = {
        "id": "reminder",
        "context": {"heard": 0, "price": 10},
        "initial": "waiting",
        "states": {
            "waiting": {
                "tags": ["settled"],
                "after": {str(int(delay * 1000)): "reminded"},
                "on": {"E": {"actions": ["hear"]}},
            },
            "reminded": {"tags": ["settled"]},
        },
    }
    heard = assign(heard=lambda args: args.context["heard"] + 1)
    return setup(actions={"hear": heard}, **logic).machine({**config, "version": version} if version else config)


def _value(house: House) -> Any:
    found = house.client.get("a")
    return found and found.value


@proves("T6")
def a_timer_that_comes_early_is_put_off(bench: Bench) -> None:
    house = House(bench, _reminder(20 * bench.lease))
    house.client.start("a")
    house.work()
    stored = bench.backend.store.load(key_of(house))
    assert stored is not None
    (token,) = _tokens(stored.body)
    # As a vendor would that is wrong: what was scheduled comes now, and will not come again.
    bench.backend.timers.schedule(Timer(token, due_message(key_of(house), token), bench.harness.now()))
    bench.advance(bench.harness.tick)
    house.client.send("a", event("1"))
    house.work()
    bench.mark("early")
    bench.same(_value(house), "waiting", "the state after a timer that came early")
    found = house.client.get("a")
    bench.same(found and found.context["heard"], 1, "events taken behind a timer that came early")
    bench.advance(20 * bench.lease + 2 * bench.harness.tick)
    house.work()
    bench.same(_value(house), "reminded", "the state after its time")
    house.close()


def _tokens(body: str) -> list[str]:
    return list(parse(body)["timers"])


@proves("V2")
def an_older_host_leaves_what_a_newer_one_has_migrated(bench: Bench) -> None:
    def cents(snapshot: dict[str, Any]) -> Mapping[str, Any]:
        return {**snapshot, "context": {**snapshot["context"], "price": 100 * snapshot["context"]["price"]}}

    old = House(bench, _reminder(DAY, "1"))
    new = House(bench, _reminder(DAY, "2", migrations={"1": cents}))
    old.client.start("a")
    old.work()
    for _ in range(3):
        old.client.send("a", event("E"))
        new.work()
        old.client.send("a", event("E"))
        old.host.handle(bench.receive())
        bench.advance(bench.lease)
        new.work()
    bench.mark("unknown version")
    found = new.client.get("a")
    bench.same(found and dict(found.context), {"heard": 6, "price": 1000}, "the context after both had their turns")
    bench.same(list(bench.another().store.dead_letters(key_of(new))), [], "set aside by the older host")
    old.close()
    new.close()


@proves("V3")
def a_delay_that_a_deploy_has_changed_is_armed_again(bench: Bench) -> None:
    old, new = House(bench, _reminder(5 * bench.lease)), House(bench, _reminder(9 * bench.lease))
    old.client.start("a")
    old.work()
    bench.advance(5 * bench.lease + 2 * bench.harness.tick)
    new.work()
    bench.same(_value(new), "waiting", "the state when the old delay is over")
    bench.mark("changed delay")
    bench.advance(9 * bench.lease + 2 * bench.harness.tick)
    new.work()
    bench.same(_value(new), "reminded", "the state when the new delay is over")
    old.close()
    new.close()
