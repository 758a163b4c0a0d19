"""Import of snapshots that XState persisted, as instances, and export of instances as such snapshots."""

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


class Deployment:
    """A host, a client and a backend in memory whose queue deduplicates the last `remember` ids."""

    def __init__(self, machine: Machine[Any], remember: int = 1000) -> None:
        self.now = time.time()
        self.backend = MemoryBackend(clock=lambda: self.now, remember=remember)
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


class FailsOnce:
    """A queue whose first send fails."""

    def __init__(self, queue: Any) -> None:
        self._queue, self.has_failed = queue, False

    def send(self, messages: Sequence[Message]) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise UnavailableError("for a moment")
        self._queue.send(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class TestAnImportedTree:
    def test_becomes_an_instance_for_each_machine(self) -> None:
        deployment = Deployment(family())
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.client.send("ada", {"type": "PING"})
        deployment.work()
        exported = json.loads(deployment.client.export_snapshot("ada"))
        assert exported["children"]["kid"]["snapshot"]["context"] == {"heard": ["PING", "PING"]}

    def test_is_exported_as_it_was_imported(self) -> None:
        deployment = Deployment(family())
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        assert json.loads(deployment.client.export_snapshot("ada")) == TOGETHER

    def test_does_not_replace_an_existing_instance(self) -> None:
        deployment = Deployment(family())
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        other = {**TOGETHER, "context": {"another": "snapshot"}}
        with pytest.raises(RecordError, match="parent/ada: there is such an instance already"):
            deployment.client.import_snapshot("ada", json.dumps(other))

    @pytest.mark.parametrize("levels", [300, 100_000])
    def test_is_not_nested_too_deeply(self, levels: int) -> None:
        deep = json.dumps({**TOGETHER, "context": 0}).replace(
            '"context": 0', f'"context": {"[" * levels}{"]" * levels}'
        )
        with pytest.raises(RecordError, match="nested"):
            Deployment(family()).client.import_snapshot("ada", deep)

    def test_is_imported_once_however_often_the_call_is_repeated(self) -> None:
        deployment = Deployment(family())
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        deployment.client.send("ada", {"type": "PING"})
        deployment.work()
        before = deployment.client.export_snapshot("ada")
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        assert deployment.client.export_snapshot("ada") == before

    def test_is_imported_where_only_events_came_before(self) -> None:
        deployment = Deployment(family())
        deployment.client.send("ada", {"type": "PING"})
        deployment.work()
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        assert json.loads(deployment.client.export_snapshot("ada")) == TOGETHER
        assert len(deployment.client.dead_letters("ada")) == 1

    def test_is_woken_although_the_first_send_failed(self) -> None:
        deployment = Deployment(family())
        memory = deployment.backend
        queue = FailsOnce(memory.queue)
        deployment.client = Client(family(), CompositeBackend(memory.store, cast(Any, queue), memory.timers))
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        assert queue.has_failed
        assert json.loads(deployment.client.export_snapshot("ada")) == TOGETHER

    def test_takes_events_while_its_delay_is_running(self) -> None:
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
        deployment = Deployment(machine)
        deployment.client.import_snapshot("7", machine.dump(machine.initial_transition()[0]))
        deployment.work()
        deployment.client.send("7", {"type": "PAY"})
        deployment.work()
        assert deployment.value("7") == "paid"

    def test_is_completed_by_the_same_call_after_a_crash(self) -> None:
        deployment = Deployment(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", deployment.now)
        assert write.stored is not None
        deployment.backend.store.commit(write.key, write.stored, write.expected)  # and its messages were not sent
        deployment.work()
        deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
        deployment.work()
        assert json.loads(deployment.client.export_snapshot("ada")) == TOGETHER

    def test_can_be_imported_again_after_its_deletion(self) -> None:
        deployment = Deployment(family())
        for _ in range(2):
            deployment.client.import_snapshot("ada", json.dumps(TOGETHER))
            deployment.work()
            assert json.loads(deployment.client.export_snapshot("ada")) == TOGETHER
            deployment.client.delete("ada")

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("{", "not JSON"),
            ('{"status": "active", "status": "done"}', 'an object has the key "status" twice'),
            ("[]", "snapshot: expected an object, not list"),
            (json.dumps({**TOGETHER, "value": "apart"}), "apart"),
        ],
    )
    def test_must_be_a_snapshot_of_its_machine(self, text: str, error: str) -> None:
        deployment = Deployment(family())
        with pytest.raises(RecordError, match=error):
            deployment.client.import_snapshot("ada", text)
        assert deployment.client.get("ada") is None


def nothing(_input: Any, _call: Call) -> None:
    """An actor that does nothing."""


def greeting(greet: Any) -> Machine[Any]:
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


class TestWhatASnapshotDoesNotContain:
    def test_function_actors_that_had_not_ended_are_started_again(self) -> None:
        inputs: list[Any] = []

        def greet(input: Any, _call: Call) -> None:
            inputs.append(input)

        deployment = Deployment(greeting(greet))
        running = {"snapshot": {"status": "active", "input": {"n": 1}}, "src": "greet", "syncSnapshot": False}
        deployment.client.import_snapshot(
            "x", json.dumps({"status": "active", "value": "a", "context": {}, "children": {"greet": running}})
        )
        deployment.work()
        assert inputs == [{"n": 1}]
        assert deployment.value("x") == "b"

    def test_delays_count_from_now(self) -> None:
        deployment = Deployment(greeting(nothing))
        deployment.client.import_snapshot(
            "x", json.dumps({"status": "active", "value": "b", "context": {}, "children": {}})
        )
        deployment.work()
        deployment.now += 0.9
        deployment.work()
        assert deployment.value("x") == "b"
        deployment.now += 0.1
        deployment.work()
        assert deployment.value("x") == "c"


class TestANameThatWasUsedBefore:
    """Messages and timers of deleted instances do not affect a new one of the same name."""

    def test_an_actor_is_started_after_each_import(self) -> None:
        keys: list[str] = []

        def greet(_input: Any, call: Call) -> None:
            keys.append(call.idempotency_key)

        deployment = Deployment(greeting(greet))
        running = {"snapshot": {"status": "active"}, "src": "greet", "syncSnapshot": False}
        text = json.dumps({"status": "active", "value": "a", "context": {}, "children": {"greet": running}})
        for _ in range(3):
            deployment.client.import_snapshot("x", text)
            deployment.work()
            assert deployment.value("x") == "b"
            deployment.client.delete("x")
        assert len(set(keys)) == 3

    def test_a_timer_of_a_deleted_instance_neither_fires_nor_hides_the_new_one(self) -> None:
        deployment = Deployment(greeting(nothing))
        text = json.dumps({"status": "active", "value": "b", "context": {}, "children": {}})
        deployment.client.import_snapshot("x", text)
        deployment.work()
        deployment.now += 0.5
        deployment.client.delete("x")
        deployment.client.import_snapshot("x", text)
        deployment.work()
        deployment.now += 0.6
        deployment.work()
        assert deployment.value("x") == "b"
        deployment.now += 0.5
        deployment.work()
        assert deployment.value("x") == "c"

    def test_a_start_that_is_repeated_after_the_deletion_has_no_effect(self) -> None:
        deployment = Deployment(greeting(nothing), remember=0)
        deployment.client.start("x", message_id="start")
        deployment.work()
        deployment.client.delete("x")
        deployment.client.start("x", message_id="start")
        deployment.work()
        assert deployment.client.get("x") is None


class TestAnImportThatCrashes:
    def test_before_its_commit_leaves_nothing_behind(self) -> None:
        deployment = Deployment(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", deployment.now)
        assert [each.key for each in write.sends] == [Key("parent", "ada")]
        deployment.client.start("ada")  # the import has crashed before its commit
        deployment.work()
        assert [each.id for each in deployment.client.list()] == ["ada"]

    def test_after_its_commit_is_completed_with_the_next_message(self) -> None:
        deployment = Deployment(family())
        tree = tree_to_json(family(), from_xstate_json(family(), json.dumps(TOGETHER)))
        write = import_tree(family(), Key("parent", "ada"), tree, None, "nonce", deployment.now)
        assert write.stored is not None
        deployment.backend.store.commit(write.key, write.stored, write.expected)
        deployment.client.send("ada", {"type": "PING"})
        deployment.work()
        exported = json.loads(deployment.client.export_snapshot("ada"))
        assert exported["children"]["kid"]["snapshot"]["context"] == {"heard": ["PING", "PING"]}
