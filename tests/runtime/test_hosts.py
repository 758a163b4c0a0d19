"""Both hosts: custom actions, observers, the log, and turns that raise."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from settled import (
    AccessDeniedError,
    ActionArgs,
    DefinitionError,
    Key,
    Machine,
    OutcomeUnknownError,
    RecordError,
    SettledError,
    TurnEnd,
    emit,
    log,
    send_to,
    setup,
)
from settled.durable import Message, ReleaseReason, Start, Stored, encode
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Host, Worker
from settled_runtime import log as write_log
from settled_runtime.events import (
    ActionPerformed,
    Committed,
    DeadLettered,
    Emitted,
    HostEvent,
    Logged,
    MachineNotServed,
    Released,
    TurnEnded,
    TurnFailed,
    TurnStarted,
)
from tests.runtime.conftest import Running
from tests.runtime.machines import greeter

Make = Callable[..., Running]
ADA = Key("greeter", "ada")


def hello(_input: Any, _call: Any) -> str:
    return "hello"


def named(id: str, **actors: Any) -> Machine[Any]:
    invoked = [{"src": src} for src in actors]
    return setup(actors=actors).machine({"id": id, "initial": "a", "states": {"a": {"invoke": invoked}}})


class TestMachines:
    @pytest.mark.parametrize(
        ("machines", "places"),
        [
            (
                [named("m"), named("n"), named("m")],
                "number 1 of the machines given, and number 3 of the machines given",
            ),
            (
                [named("m", child=named("m"))],
                'number 1 of the machines given, and the actor "child" of the machine "m"',
            ),
            (
                [named("n", inner=named("c", deep=named("m"))), named("m")],
                'the actor "deep" of the machine "c", and number 2 of the machines given',
            ),
        ],
    )
    @pytest.mark.parametrize("host", [Host, AsyncHost, Worker])
    def test_with_the_same_id_are_refused(
        self, host: type[Host] | type[AsyncHost] | type[Worker], machines: list[Machine[Any]], places: str
    ) -> None:
        with pytest.raises(DefinitionError) as caught:
            host(machines, MemoryBackend())
        assert f'id: two machines have the id "m": {places}\n' in str(caught.value)

    def test_that_are_one_may_be_given_twice_and_be_a_child_too(self) -> None:
        child = named("c")
        Host([child, child, named("m", one=child, two=child)], MemoryBackend()).close()


class TestACustomAction:
    def test_gets_its_context_its_event_its_state_and_its_call(self, running: Make) -> None:
        seen: list[ActionArgs[Any]] = []
        host = running(greeter(hello, note=seen.append))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE", "n": 1})
        host.work()
        (args,) = seen
        assert args.event == {"type": "NOTE", "n": 1}
        assert args.context == {"answer": None}
        assert re.fullmatch(r"greeter/ada/[0-9a-f]{16}\.1/1/0", args.call.idempotency_key)
        assert args.state.value == "idle"

    def test_gets_the_headers_of_its_message(self, running: Make) -> None:
        seen: list[ActionArgs[Any, Any]] = []
        host = running(greeter(hello, note=seen.append))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"}, headers={"traceparent": "00-1"})
        host.work()
        assert [args.call.headers for args in seen] == [{"traceparent": "00-1"}]

    def test_may_be_async_def(self, running: Make) -> None:
        seen: list[str] = []

        async def note(args: ActionArgs[Any]) -> None:
            seen.append(args.event["type"])

        host = running(greeter(hello, note=note))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        host.work()
        assert seen == ["NOTE"]

    def test_that_raises_releases_its_message(self, running: Make) -> None:
        def note(_args: Any) -> None:
            raise OSError("full")

        host = running(greeter(hello, note=note))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        assert host.work() == {ADA: TurnEnd.RELEASED}
        (performed,) = [event for event in host.events if isinstance(event, ActionPerformed)]
        assert performed.error == "OSError: full"


class TestObservers:
    def test_get_the_events_of_a_turn_in_order(self, running: Make) -> None:
        host = running(greeter(hello))
        host.client.start("ada", message_id="start")
        host.work()
        assert host.events == [TurnStarted(ADA, ("start",)), Committed(ADA, 1), TurnEnded(ADA, TurnEnd.DONE)]

    def test_get_the_headers_of_the_messages_that_have_any(self, running: Make) -> None:
        host = running(greeter(hello))
        host.client.start("ada", message_id="start")
        host.client.send("ada", {"type": "NOTE"}, message_id="note", headers={"traceparent": "00-1"})
        host.work()
        assert host.events[0] == TurnStarted(ADA, ("start", "note"), {"note": {"traceparent": "00-1"}})

    def test_get_what_the_machine_emits_and_logs(self, running: Make) -> None:
        machine = setup(actions={"cry": emit({"type": "CRY"}), "say": log(lambda a: a.event["type"], "heard")}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"on": {"GO": {"actions": ["cry", "say"]}}}}}
        )
        host = running(machine)
        host.client.start("ada")
        host.client.send("ada", {"type": "GO"})
        host.work()
        key = Key("m", "ada")
        emitted = [(each.key, each.event) for each in host.events if isinstance(each, Emitted)]
        assert emitted == [(key, {"type": "CRY"})]
        assert Logged(key, "GO", "heard") in host.events

    def test_that_raise_affect_neither_the_turn_nor_each_other(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(_event: HostEvent) -> None:
            raise RuntimeError("a bug of the observer")

        received: list[HostEvent] = []
        backend = MemoryBackend()
        host = Host([greeter(hello)], backend, observers=[broken, received.append])
        backend.queue.send([Message(ADA, "start", encode(Start()))])
        assert host.handle(backend.queue.receive(1)) == {ADA: TurnEnd.DONE}
        host.close()
        assert len(received) == 3
        assert "an observer failed on TurnStarted" in caplog.text

    def test_include_one_that_writes_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "settled"):
            write_log(Committed(ADA, 7))
            write_log(TurnFailed(ADA, RecordError("damaged")))
            write_log(Released(ADA, 2.0, ReleaseReason.FAILED, "1 of 5 times, now with a timeout"))
            write_log(Released(ADA, 60.0, ReleaseReason.WAITING))
        assert [record.levelname for record in caplog.records] == [
            "DEBUG",
            "ERROR",
            "DEBUG",
            "WARNING",
            "DEBUG",
            "DEBUG",
        ]
        assert "greeter/ada: committed version 7" in caplog.text
        assert "greeter/ada: released for 2 s: failed: 1 of 5 times, now with a timeout" in caplog.text
        assert "greeter/ada: released for 60 s: waiting" in caplog.text


class TestAMessageThatCannotBeTaken:
    def test_of_a_machine_that_the_host_does_not_serve_is_released(self, running: Make) -> None:
        host = running(greeter(hello))
        host.backend.queue.send([Message(Key("other", "x"), "m", encode(Start()))])
        (raised,) = host.work().values()
        assert isinstance(raised, RecordError)
        assert "no machine 'other', only greeter" in str(raised)
        host.backend.queue.send([Message(Key("other", "y"), "m", encode(Start()))])
        host.work()
        # Once for each machine: it goes on for as long as the services share a queue.
        assert [each for each in host.events if isinstance(each, MachineNotServed)] == [MachineNotServed("other")]
        assert host.backend.queue.receive(10) == []

    @pytest.mark.parametrize(
        ("error", "first"), [(OutcomeUnknownError("the answer was lost"), 1.0), (AccessDeniedError("no"), 5.0)]
    )
    def test_because_the_store_fails_is_released_longer_each_time(
        self, error: SettledError, first: float, running: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def load(key: Key) -> Stored | None:
            raise error

        host = running(greeter(hello))
        host.client.start("ada")
        monkeypatch.setattr(host.backend.store, "load", load)
        host.work()
        host.client.start("bob")
        for _ in range(7):
            host.backend.queue.release(host.backend.queue.receive(10))
        host.work()
        delays = [each.delay for each in host.events if isinstance(each, Released)]
        assert delays == pytest.approx([first, first * 1.1**7])

    def test_for_a_record_that_cannot_be_read_is_released_and_other_keys_go_on(self, running: Make) -> None:
        host = running(greeter(hello))
        host.client.start("ada")
        host.work()
        stored = host.backend.store.load(ADA)
        assert stored is not None

        host.backend.store.commit(ADA, evolve(stored, version=2, body='{"settled":99}'), 1)
        host.client.send("ada", {"type": "NOTE"})
        host.client.start("bob")
        ends = host.work()
        assert isinstance(ends[ADA], RecordError)
        assert "format 99" in str(ends[ADA])
        assert ends[Key("greeter", "bob")] is TurnEnd.DONE

    def test_because_its_machine_sends_more_than_the_backend_takes_fails(self, running: Make) -> None:
        send = send_to("other/x", lambda a: {"type": "SEEN", "text": "x" * a.event["size"]})
        machine = setup(actions={"send": send}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"tags": ["settled"], "on": {"GO": {"actions": "send"}}}}}
        )
        host = running(machine, largest_message=2000)
        host.client.start("ada")
        host.client.send("ada", {"type": "GO", "size": 100})
        assert host.work() == {Key("m", "ada"): TurnEnd.DONE}
        host.client.send("ada", {"type": "GO", "size": 6200})
        host.work()
        (released,) = [each for each in host.events if isinstance(each, Released) and each.key.machine == "m"]
        assert released.reason is ReleaseReason.FAILED
        assert "m/ada: what it sends to other/x has 6,3" in released.detail

    def test_that_becomes_a_dead_letter_is_reported(self, running: Make) -> None:
        host = running(greeter(hello))
        host.backend.queue.send([Message(ADA, "bad", "{")])
        host.work()
        (event,) = [event for event in host.events if isinstance(event, DeadLettered)]
        assert event.dead_letter.message.id == "bad"
