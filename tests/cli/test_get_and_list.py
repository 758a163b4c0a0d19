"""`get` and `list` need only a URL, and none of the code that the instances run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from settled import Key, setup
from settled.durable import Backend, Record, Stored
from settled.durable.ports import Index
from settled.durable.record_json import record_to_stored
from settled_cli.backend import parse_key
from settled_cli.instance_view import state_path
from tests.cli.conftest import Settled
from tests.support.example_records import KEY, MACHINE, RECORDS, SUSPENDED, WATCHED


@pytest.fixture
def front(settled: Settled, work: Callable[[], None]) -> None:
    settled("start", "door/front")
    work()


@pytest.mark.usefixtures("front")
class TestGet:
    def test_prints_one_fact_a_line(self, settled: Settled) -> None:
        result = settled("get", "door/front")
        assert result.status == 0
        lines = dict(line.split(maxsplit=1) for line in result.out.splitlines())
        assert lines["key"] == "door/front"
        assert lines["state"] == "shut"
        assert lines["timer"].endswith("xstate.after.3600000.door.shut")
        assert lines["record"].startswith("version 1, ")

    def test_prints_everything_as_json(self, settled: Settled) -> None:
        seen = settled("get", "door/front", "--json").json
        assert seen["key"] == "door/front"
        assert (seen["state"], seen["value"], seen["status"], seen["tags"]) == ("shut", "shut", "active", ["settled"])
        assert seen["snapshot"]["value"] == "shut"
        assert [timer["event"]["type"] for timer in seen["timers"]] == ["xstate.after.3600000.door.shut"]
        assert (seen["version"], seen["halted"], seen["turn"], seen["failing"]) == (1, None, None, None)
        assert seen["size"] > 100

    def test_shows_why_an_instance_is_failing(self, settled: Settled, work: Callable[[], None]) -> None:
        settled("send", "door/front", "KICK", "--id", "kick")
        work()
        failing = settled("get", "door/front", "--json").json["failing"]
        assert (failing["message"], failing["count"]) == ("kick", 1)
        assert "the lock is broken" in failing["detail"]

    def test_shows_the_open_turn_and_to_whom_a_delayed_event_goes(self, settled: Settled, backend: Backend) -> None:
        backend.store.commit(KEY, record_to_stored(MACHINE, RECORDS["everything"], 1, 0.0), 0)
        seen = settled("get", str(KEY), "--json").json
        actors = [{"src": "charge", "attempt": 1}, {"src": "send_email", "attempt": 2}]
        assert seen["turn"] == {"message": "m3", "actors": actors}
        assert [(timer["due"], timer["event"]["type"], timer.get("to")) for timer in seen["timers"]] == [
            ("1970-01-01T00:16:40Z", "LATE", "basket/7"),
            ("1970-01-01T00:33:20Z", "xstate.after.1000.order.waiting", None),
            ("1970-01-01T00:50:00Z", "REMIND", None),
        ]
        assert "1970-01-01T00:16:40Z: LATE to basket/7\n" in settled("get", str(KEY)).out

    def test_shows_what_a_suspect_runs(self, settled: Settled, backend: Backend) -> None:
        backend.store.commit(KEY, record_to_stored(MACHINE, WATCHED, 1, 0.0), 0)
        seen = settled("get", str(KEY), "--json").json
        assert WATCHED.turn is not None
        (actor,) = WATCHED.turn.actors
        assert seen["watched"] == {"message": "m3", "actor": actor.id, "alone": True}
        assert [each["losses"] for each in seen["turn"]["actors"]] == [1]
        out = settled("get", str(KEY)).out
        assert f"a worker runs the actor {actor.id} for m3, alone, or was lost with it" in out
        assert f"{actor.src}, attempt {actor.attempt}, workers lost: 1" in out
        assert "active, watched" in settled("list", KEY.machine).out

    def test_shows_until_when_a_turn_is_suspended(self, settled: Settled, backend: Backend) -> None:
        backend.store.commit(KEY, record_to_stored(MACHINE, SUSPENDED, 1, 0.0), 0)
        assert settled("get", str(KEY), "--json").json["turn"]["suspended_until"] == "1970-01-01T01:16:40Z"
        assert "send_email, attempt 2, suspended until 1970-01-01T01:16:40Z\n" in settled("get", str(KEY)).out

    def test_waits_until_a_state_is_active(self, settled: Settled, work: Callable[[], None]) -> None:
        settled("send", "door/front", "UNLOCK", "code=0042")
        later = threading.Timer(0.1, work)
        later.start()
        assert settled("get", "door/front", "--until", "open", "--json").json["state"] == "open"
        later.join()

    def test_does_not_wait_for_an_instance_that_has_ended(self, settled: Settled, work: Callable[[], None]) -> None:
        settled("send", "door/front", "UNLOCK", "code=no")
        work()
        result = settled("get", "door/front", "--until", "open")
        assert (result.status, result.out) == (1, "")
        assert result.err == "settled: door/front is done in alarmed, and will not be in open\n"
        assert settled("get", "door/front", "--until", "alarmed").status == 0

    def test_stops_waiting_after_the_timeout(self, settled: Settled) -> None:
        result = settled("get", "door/front", "--until", "open", "--timeout", "0.01")
        assert (result.status, result.out) == (1, "")
        assert result.err == "settled: waited 0.01 s for door/front to be in open. Is a worker running?\n"

    def test_says_to_update_if_the_record_is_newer(self, settled: Settled, backend: Backend) -> None:
        backend.store.commit(parse_key("door/back"), Stored(1, '{"settled": 9}', Index("active")), 0)
        result = settled("get", "door/back")
        assert (result.status, result.err) == (
            1,
            "settled: door/back: the record has format 9, this version of settled reads 3 to 4: update settled\n",
        )

    def test_reports_text_that_is_not_a_record(self, settled: Settled, backend: Backend) -> None:
        backend.store.commit(parse_key("door/back"), Stored(1, "{}", Index("active")), 0)
        result = settled("get", "door/back")
        assert result.status == 1
        assert "the stored text is not a record of settled" in result.err


@pytest.mark.usefixtures("backend")
class TestList:
    @pytest.fixture(autouse=True)
    def three_instances(self, settled: Settled, work: Callable[[], None]) -> None:
        for instance in ("back", "front", "side"):
            settled("start", f"door/{instance}")
        settled("send", "door/side", "UNLOCK", "code=no")
        work()

    def test_prints_a_table(self, settled: Settled) -> None:
        result = settled("list")
        assert result.status == 0
        titles, _, *rows = result.out.splitlines()
        assert titles.split() == ["key", "status", "state", "tags", "updated"]
        assert [row.split()[:4] for row in rows] == [
            ["door/back", "active", "shut", "settled"],
            ["door/front", "active", "shut", "settled"],
            ["door/side", "done", "alarmed", "reject"],
        ]

    def test_prints_a_json_array(self, settled: Settled) -> None:
        rows = settled("list", "--json").json
        assert [(row["key"], row["status"], row["state"]) for row in rows] == [
            ("door/back", "active", "shut"),
            ("door/front", "active", "shut"),
            ("door/side", "done", "alarmed"),
        ]

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            (("door",), ["door/back", "door/front", "door/side"]),
            (("gate",), []),
            (("--status", "done"), ["door/side"]),
            (("--limit", "1"), ["door/back"]),
            (("--after", "door/back", "--limit", "1"), ["door/front"]),
        ],
    )
    def test_can_be_filtered(self, words: tuple[str, ...], found: list[str], settled: Settled) -> None:
        assert [row["key"] for row in settled("list", *words, "--json").json] == found

    def test_says_if_there_are_more(self, settled: Settled) -> None:
        for json in ((), ("--json",)):
            said = settled("list", "--limit", "2", *json).err
            assert said == "settled: there are more. Give --after door/front, or a higher --limit\n"
            assert settled("list", "--limit", "3", *json).err == ""

    def test_json_has_the_ids_as_they_are(self, settled: Settled, backend: Backend) -> None:
        record = record_to_stored(setup().machine({"id": "a/b"}), Record(), 1, 0.0)
        backend.store.commit(Key("a/b", "x"), record, 0)
        (found,) = settled("list", "a/b", "--json").json
        assert (found["key"], found["machine"], found["instance"]) == ("a%2Fb/x", "a/b", "x")
        assert settled("get", "a%2Fb/x", "--json").json["machine"] == "a/b"

    def test_prints_none_if_there_are_none(self, settled: Settled) -> None:
        assert settled("list", "gate").out == "none\n"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "-"),
        ("open", "open"),
        ({"waiting": "codeSent"}, "waiting.codeSent"),
        ({"a": {"b": "c"}}, "a.b.c"),
        ({"left": "on", "right": {"up": "off"}}, "(left.on, right.up.off)"),
        ({"both": {"left": "on", "right": "off"}}, "both.(left.on, right.off)"),
        ({"region": {}}, "region"),
    ],
)
def test_a_state_is_shown_as_a_path(value: object, path: str) -> None:
    assert state_path(value) == path
