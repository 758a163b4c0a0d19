"""What a host does besides running functions: actions, observers, and messages it cannot take."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from settled import ActionArgs, Key, RecordError, TurnEnd, emit, log, setup
from settled.durable import Message, Start, encode
from settled_local.memory import MemoryBackend
from settled_runtime import Host
from settled_runtime import log as log_notices
from settled_runtime.events import (
    ActionPerformed,
    Committed,
    DeadLettered,
    Emitted,
    HostEvent,
    Logged,
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


class TestACustomAction:
    def test_is_given_its_context_its_event_and_its_call(self, running: Make) -> None:
        seen: list[ActionArgs[Any, Any]] = []
        host = running(greeter(hello, note=seen.append))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE", "n": 1})
        host.work()
        (args,) = seen
        assert args.event == {"type": "NOTE", "n": 1}
        assert args.context == {"answer": None}
        assert re.fullmatch(r"greeter/ada/[0-9a-f]{16}\.1/1/0", args.call.idempotency_key)
        assert args.state.value == "idle"

    def test_may_be_awaited(self, running: Make) -> None:
        seen: list[str] = []

        async def note(args: ActionArgs[Any, Any]) -> None:
            seen.append(args.event["type"])

        host = running(greeter(hello, note=note))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        host.work()
        assert seen == ["NOTE"]

    def test_that_raises_is_not_acknowledged(self, running: Make) -> None:
        def note(_args: Any) -> None:
            raise OSError("full")

        host = running(greeter(hello, note=note))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        assert host.work() == {ADA: TurnEnd.RELEASED}
        (performed,) = [notice for notice in host.notices if isinstance(notice, ActionPerformed)]
        assert performed.error == "OSError: full"


class TestObservers:
    def test_are_told_of_a_turn_from_its_beginning_to_its_end(self, running: Make) -> None:
        host = running(greeter(hello))
        host.client.start("ada", message_id="start")
        host.work()
        assert host.notices == [TurnStarted(ADA, ("start",)), Committed(ADA, 1), TurnEnded(ADA, TurnEnd.DONE)]

    def test_hear_what_the_machine_emits_and_logs(self, running: Make) -> None:
        machine = setup(actions={"cry": emit({"type": "CRY"}), "say": log(lambda a: a.event["type"], "heard")}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"on": {"GO": {"actions": ["cry", "say"]}}}}}
        )
        host = running(machine)
        host.client.start("ada")
        host.client.send("ada", {"type": "GO"})
        host.work()
        key = Key("m", "ada")
        emitted = [(each.key, each.event) for each in host.notices if isinstance(each, Emitted)]
        assert emitted == [(key, {"type": "CRY"})]
        assert Logged(key, "GO", "heard") in host.notices

    def test_cannot_harm_a_turn_or_each_other(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(_notice: HostEvent) -> None:
            raise RuntimeError("an observer's own fault")

        heard: list[HostEvent] = []
        backend = MemoryBackend()
        host = Host([greeter(hello)], backend, observers=[broken, heard.append])
        backend.queue.send([Message(ADA, "start", encode(Start()))])
        assert host.handle(backend.queue.receive(1)) == {ADA: TurnEnd.DONE}
        host.close()
        assert len(heard) == 3
        assert "an observer failed on TurnStarted" in caplog.text

    def test_one_of_them_writes_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "settled"):
            log_notices(Committed(ADA, 7))
            log_notices(TurnFailed(ADA, RecordError("damaged")))
        assert [record.levelname for record in caplog.records] == ["DEBUG", "ERROR"]
        assert "greeter/ada: committed version 7" in caplog.text


class TestAMessageThatCannotBeTaken:
    def test_of_a_machine_that_lives_elsewhere_is_given_back(self, running: Make) -> None:
        host = running(greeter(hello))
        host.backend.queue.send([Message(Key("other", "x"), "m", encode(Start()))])
        (raised,) = host.work().values()
        assert isinstance(raised, RecordError)
        assert "no machine 'other', only greeter" in str(raised)
        assert host.backend.queue.receive(10) == []

    def test_of_a_record_that_cannot_be_read_is_given_back_and_others_go_on(self, running: Make) -> None:
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

    def test_that_was_set_aside_is_told_of(self, running: Make) -> None:
        host = running(greeter(hello))
        host.backend.queue.send([Message(ADA, "bad", "{")])
        host.work()
        (notice,) = [notice for notice in host.notices if isinstance(notice, DeadLettered)]
        assert notice.dead_letter.message.id == "bad"
