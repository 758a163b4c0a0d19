"""What XState has persisted elsewhere goes on here, as instances; and what lives here can go back."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from settled import Call, Key, Machine, RecordError, UnavailableError, actor, from_xstate_json, setup
from settled.durable import Message, import_tree
from settled.durable.persisted_tree import tree_to_json
from settled_local.memory import MemoryBackend
from settled_runtime import Client, CompositeBackend, Host
from tests.parity.actor_trees import family

TOGETHER = {
    "status": "active",
    "value": "together",
    "context": {},
    "historyValue": {},
    "children": {
        "kid": {
            "snapshot": {
                "status": "active",
                "value": "pinged",
                "context": {"heard": ["PING"]},
                "children": {},
                "historyValue": {},
            },
            "src": "child",
            "systemId": "the-kid",
            "syncSnapshot": False,
        }
    },
}


class Home:
    """A machine, a backend in memory, and a host that is asked to work."""

    def __init__(self, machine: Machine[Any, Any]) -> None:
        self.now = time.time()
        self.backend = MemoryBackend(clock=lambda: self.now)
        self.client = Client(machine, self.backend)
        self._host = Host([machine], self.backend, observers=())

    def work(self) -> None:
        while deliveries := self.backend.queue.receive(10):
            self._host.handle(deliveries)
        self._host.close()

    def value(self, instance: str) -> Any:
        found = self.client.get(instance)
        assert found is not None
        return found.value


class Stumbling:
    """A queue that cannot be reached at first."""

    def __init__(self, queue: Any) -> None:
        self._queue, self.stumbled = queue, False

    def send(self, messages: Sequence[Message]) -> None:
        if not self.stumbled:
            self.stumbled = True
            raise UnavailableError("for a moment")
        self._queue.send(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class TestAFamilyThatIsAdopted:
    def test_lives_on_as_instances_of_their_own(self) -> None:
        home = Home(family())
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.client.send("ada", {"type": "PING"})
        home.work()
        exported = json.loads(home.client.export_snapshot("ada"))
        assert exported["children"]["kid"]["snapshot"]["context"] == {"heard": ["PING", "PING"]}

    def test_goes_back_as_it_came(self) -> None:
        home = Home(family())
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        assert json.loads(home.client.export_snapshot("ada")) == TOGETHER

    def test_is_not_put_over_an_instance_that_lives(self) -> None:
        home = Home(family())
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        other = {**TOGETHER, "context": {"another": "snapshot"}}
        with pytest.raises(RecordError, match="parent/ada: there is such an instance already"):
            home.client.import_snapshot("ada", json.dumps(other))

    def test_is_adopted_once_however_often_the_call_is_repeated(self) -> None:
        home = Home(family())
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        home.client.send("ada", {"type": "PING"})
        home.work()
        before = home.client.export_snapshot("ada")
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        assert home.client.export_snapshot("ada") == before

    def test_is_adopted_where_only_events_had_come_too_early(self) -> None:
        home = Home(family())
        home.client.send("ada", {"type": "PING"})
        home.work()
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        assert json.loads(home.client.export_snapshot("ada")) == TOGETHER
        assert len(home.client.dead_letters("ada")) == 1

    def test_is_woken_if_that_could_not_be_sent_at_first(self) -> None:
        home = Home(family())
        memory = home.backend
        queue = Stumbling(memory.queue)
        home.client = Client(family(), CompositeBackend(memory.store, cast(Any, queue), memory.timers))
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        assert queue.stumbled
        assert json.loads(home.client.export_snapshot("ada")) == TOGETHER

    def test_takes_what_comes_while_its_delay_is_running(self) -> None:
        machine = setup().machine(
            {
                "id": "order",
                "initial": "open",
                "states": {
                    "open": {"tags": ["settled"], "on": {"PAY": "paid"}, "after": {"3600000": "expired"}},
                    "paid": {"tags": ["settled"]},
                    "expired": {},
                },
            }
        )
        home = Home(machine)
        home.client.import_snapshot("7", machine.dump(machine.initial_transition()[0]))
        home.work()
        home.client.send("7", {"type": "PAY"})
        home.work()
        assert home.value("7") == "paid"

    def test_can_be_adopted_again_after_an_adoption_that_broke_off(self) -> None:
        home = Home(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", home.now)
        assert write.stored is not None
        home.backend.store.commit(write.key, write.stored, write.expected)  # and nothing was sent along with it
        home.work()
        home.client.import_snapshot("ada", json.dumps(TOGETHER))
        home.work()
        assert json.loads(home.client.export_snapshot("ada")) == TOGETHER

    def test_can_be_adopted_again_once_it_was_deleted(self) -> None:
        home = Home(family())
        for _ in range(2):
            home.client.import_snapshot("ada", json.dumps(TOGETHER))
            home.work()
            assert json.loads(home.client.export_snapshot("ada")) == TOGETHER
            home.client.delete("ada")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{", "not JSON"),
            ("[]", "snapshot: expected an object, not list"),
            (json.dumps({**TOGETHER, "value": "apart"}), "apart"),
        ],
    )
    def test_must_be_a_snapshot_of_its_machine(self, text: str, says: str) -> None:
        home = Home(family())
        with pytest.raises(RecordError, match=says):
            home.client.import_snapshot("ada", text)
        assert home.client.get("ada") is None


def nothing(_input: Any, _call: Call) -> None:
    """An actor that does nothing."""


def greeting(greet: Any) -> Machine[Any, Any]:
    return setup(actors={"greet": actor(greet)}).machine(
        {
            "id": "m",
            "initial": "a",
            "states": {
                "a": {"invoke": {"id": "greet", "src": "greet", "onDone": "b"}, "after": {"60000": "late"}},
                "b": {"tags": ["settled"], "after": {"1000": "c"}},
                "c": {"type": "final"},
                "late": {"type": "final"},
            },
        }
    )


class TestWhatASnapshotDoesNotHold:
    def test_function_actors_that_had_not_ended_are_started_again(self) -> None:
        inputs: list[Any] = []

        def greet(input: Any, _call: Call) -> None:
            inputs.append(input)

        home = Home(greeting(greet))
        running = {"snapshot": {"status": "active", "input": {"n": 1}}, "src": "greet", "syncSnapshot": False}
        home.client.import_snapshot(
            "x", json.dumps({"status": "active", "value": "a", "context": {}, "children": {"greet": running}})
        )
        home.work()
        assert inputs == [{"n": 1}]
        assert home.value("x") == "b"

    def test_delays_count_from_now(self) -> None:
        home = Home(greeting(nothing))
        home.client.import_snapshot("x", json.dumps({"status": "active", "value": "b", "context": {}, "children": {}}))
        home.work()
        home.now += 0.9
        home.work()
        assert home.value("x") == "b"
        home.now += 0.1
        home.work()
        assert home.value("x") == "c"


class TestWhatAnAdoptionFollows:
    """A name that was used before: what is left of its former lives is none of the new one's business."""

    def test_an_actor_is_started_in_each_life(self) -> None:
        keys: list[str] = []

        def greet(_input: Any, call: Call) -> None:
            keys.append(call.idempotency_key)

        home = Home(greeting(greet))
        running = {"snapshot": {"status": "active"}, "src": "greet", "syncSnapshot": False}
        text = json.dumps({"status": "active", "value": "a", "context": {}, "children": {"greet": running}})
        for _ in range(3):
            home.client.import_snapshot("x", text)
            home.work()
            assert home.value("x") == "b"
            home.client.delete("x")
        assert len(set(keys)) == 3

    def test_a_timer_of_a_former_life_neither_fires_nor_hides_the_new_one(self) -> None:
        home = Home(greeting(nothing))
        text = json.dumps({"status": "active", "value": "b", "context": {}, "children": {}})
        home.client.import_snapshot("x", text)
        home.work()
        home.now += 0.5
        home.client.delete("x")
        home.client.import_snapshot("x", text)
        home.work()
        home.now += 0.6
        home.work()
        assert home.value("x") == "b"
        home.now += 0.5
        home.work()
        assert home.value("x") == "c"

    def test_a_start_that_is_repeated_late_starts_nothing_again(self) -> None:
        home = Home(greeting(nothing))
        home.client.start("x", message_id="start")
        home.work()
        home.client.delete("x")
        queue: Any = home.backend.queue
        queue._lanes.clear()  # one that has forgotten everything
        home.client.start("x", message_id="start")
        home.work()
        assert home.client.get("x") is None


class TestAnAdoptionThatBreaksOff:
    def test_leaves_nothing_that_a_later_start_could_find(self) -> None:
        home = Home(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", home.now)
        assert [each.key for each in write.sends] == [Key("parent", "ada")]
        home.client.start("ada")  # before anything of it was written
        home.work()
        assert [each.id for each in home.client.list()] == ["ada"]

    def test_is_gone_on_with_by_whoever_comes_next(self) -> None:
        home = Home(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", home.now)
        assert write.stored is not None
        home.backend.store.commit(write.key, write.stored, write.expected)
        home.client.send("ada", {"type": "PING"})
        home.work()
        exported = json.loads(home.client.export_snapshot("ada"))
        assert exported["children"]["kid"]["snapshot"]["context"] == {"heard": ["PING", "PING"]}
