"""`start` and `send` put a message into the queue; with `--wait` they print its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from settled.durable import Backend
from tests.cli.conftest import Settled

DOOR = "tests.cli.door_machine:door"


def bodies(backend: Backend) -> list[str]:
    return [delivery.message.body for delivery in backend.queue.receive(100)]


class TestStart:
    @pytest.mark.parametrize(
        ("words", "input"),
        [
            ((), "null"),
            (('{"plan": "free"}',), '{"plan":"free"}'),
            (("plan=free", "seats:=3"), '{"plan":"free","seats":3}'),
            (("7",), "7"),
            (('"a=b"',), '"a=b"'),
            (("note=2=2",), '{"note":"2=2"}'),
        ],
    )
    def test_takes_an_input(self, words: tuple[str, ...], input: str, settled: Settled, backend: Backend) -> None:
        assert settled("start", "door/front", *words).status == 0
        assert bodies(backend) == [f'{{"kind":"start","input":{input},"parent":null}}']

    def test_of_an_existing_instance_changes_nothing(self, settled: Settled, work: Callable[[], None]) -> None:
        settled("start", "door/front")
        settled("start", "door/front", "--id", "again")
        work()
        again = settled("start", "door/front", "--id", "again", "--wait")
        text = "door/front: start was ignored: it was started already; now in shut\n"
        assert (again.status, again.out) == (0, text)


class TestSend:
    @pytest.mark.parametrize(
        ("words", "event"),
        [
            (("SHUT",), '{"type":"SHUT"}'),
            (('{"type": "SHUT", "force": 2}',), '{"type":"SHUT","force":2}'),
            (("UNLOCK", "code=0042"), '{"type":"UNLOCK","code":"0042"}'),
            (("UNLOCK", "code:=42", "who=", "at:=[1]"), '{"type":"UNLOCK","code":42,"who":"","at":[1]}'),
            (('{"type": "UNLOCK"}', "code=0042"), '{"type":"UNLOCK","code":"0042"}'),
            (("UNLOCK", "code=0042", "--machine", DOOR), '{"type":"UNLOCK","code":"0042"}'),
        ],
    )
    def test_takes_a_type_and_fields_or_json(
        self, words: tuple[str, ...], event: str, settled: Settled, backend: Backend
    ) -> None:
        assert settled("send", "door/front", *words).status == 0
        assert bodies(backend) == [f'{{"kind":"event","event":{event}}}']

    def test_prints_the_id_under_which_it_can_be_repeated(self, settled: Settled, backend: Backend) -> None:
        first = settled("send", "door/front", "SHUT", "--json").json
        assert first["key"] == "door/front"
        again = settled("send", "door/front", "SHUT", "--id", first["id"], "--json").json
        assert again == first
        assert len(bodies(backend)) == 1

    def test_says_that_the_event_is_in_the_queue(self, settled: Settled, backend: Backend) -> None:
        result = settled("send", "door/front", "SHUT", "--id", "m1")
        assert result.out == "door/front: SHUT is in the queue, as m1\n"


@pytest.mark.parametrize("words", [("start", "door/front"), ("send", "door/front", "SHUT")])
class TestHeaders:
    def test_go_with_the_message(self, words: tuple[str, ...], settled: Settled, backend: Backend) -> None:
        assert settled(*words, "--header", "traceparent=00-1", "--header", "note=a=b").status == 0
        (delivery,) = backend.queue.receive(10)
        assert delivery.message.headers == {"traceparent": "00-1", "note": "a=b"}

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("trace", "a header is name=value; this one is trace"),
            ("Trace=1", "the header 'Trace': a name has 1 to 64 of the characters a-z, 0-9, _, . and -"),
        ],
    )
    def test_that_are_not_allowed_are_not_sent(
        self, words: tuple[str, ...], header: str, said: str, settled: Settled, backend: Backend
    ) -> None:
        result = settled(*words, "--header", header)
        assert (result.status, said in result.err) == (2, True)
        assert not backend.queue.receive(10)


class TestWaiting:
    @pytest.fixture(autouse=True)
    def worker_in_a_moment(self, settled: Settled, work: Callable[[], None]) -> Iterator[None]:
        """A worker that begins a tenth of a second later."""
        settled("start", "door/front")
        stopping = threading.Event()

        def run() -> None:
            while not stopping.wait(0.1):
                work()

        worker = threading.Thread(target=run)
        worker.start()
        yield
        stopping.set()
        worker.join()

    def test_prints_the_outcome_and_the_state(self, settled: Settled) -> None:
        result = settled("send", "door/front", "UNLOCK", "code=0042", "--wait")
        assert (result.status, result.out) == (0, "door/front: UNLOCK was resolved; now in open\n")

    def test_prints_them_as_json(self, settled: Settled) -> None:
        result = settled("send", "door/front", "UNLOCK", "code=0042", "--wait", "--json", "--id", "m1")
        assert result.json == {"key": "door/front", "id": "m1", "outcome": "resolved", "reason": None, "state": "open"}

    def test_fails_for_an_invalid_event_and_still_prints_json(self, settled: Settled) -> None:
        result = settled("send", "door/front", "UNLOCK", "--wait", "--json")
        assert result.status == 1
        assert (result.json["outcome"], result.json["state"]) == ("invalid", "shut")
        assert "UNLOCK was invalid: UNLOCK: required field missing @ event.code" in result.err

    def test_fails_for_a_rejected_event_with_the_guard_that_answered_false(self, settled: Settled) -> None:
        result = settled("send", "door/front", "UNLOCK", "code=1", "--wait")
        assert (result.status, result.err) == (
            1,
            'settled: door/front: UNLOCK was rejected: UNLOCK (the guard "isRight" answered false) left the machine in '
            '"door.alarmed"; the instance is in alarmed\n',
        )

    def test_has_a_status_of_its_own_for_an_event_that_was_ignored(self, settled: Settled) -> None:
        reason = 'no transition takes SHUT in "door.shut"; events taken here: UNLOCK, KICK'
        result = settled("send", "door/front", "SHUT", "--wait")
        text = f"settled: door/front: SHUT was ignored: {reason}; the instance is in shut\n"
        assert (result.status, result.err) == (3, text)

    def test_prints_the_reason_as_json(self, settled: Settled) -> None:
        result = settled("send", "door/front", "SHUT", "--wait", "--json")
        assert result.status == 3
        assert (result.json["outcome"], result.json["reason"][:24]) == ("ignored", "no transition takes SHUT")
