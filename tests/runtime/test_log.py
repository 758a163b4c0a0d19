"""The log: one printable line for each event, and payloads only at DEBUG, as a redactor returns them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from settled import Key, LogicError, RecordError, UnavailableError
from settled.durable import DeadLetter, Message
from settled.durable.commands import ActorResult, ReleaseReason
from settled_runtime import (
    ActionPerformed,
    ActorFinished,
    DeadLettered,
    Emitted,
    HostEvent,
    Logged,
    MachineNotServed,
    ReceiveFailed,
    Released,
    TurnFailed,
    TurnStarted,
    log,
    log_with,
)
from settled_runtime.events import Observers

ADA = Key("order", "ada")
SECRET = "4711-0815"
MESSAGE = Message(ADA, "m1", "{}")

WITH_PAYLOAD: dict[str, tuple[HostEvent, str]] = {
    "a dead letter that failed": (
        DeadLettered(ADA, DeadLetter(MESSAGE, "failed 5 times", 0.0, f"ValueError: {SECRET}")),
        "ERROR order/ada: m1 dead-lettered, failed 5 times",
    ),
    "a dead letter that is invalid": (
        DeadLettered(ADA, DeadLetter(MESSAGE, f"no event: {SECRET}", 0.0)),
        "ERROR order/ada: m1 dead-lettered",
    ),
    "an action that failed": (
        ActionPerformed(ADA, "pay", "k", f"CardDeclined: {SECRET}"),
        "WARNING order/ada: action pay failed (k): CardDeclined",
    ),
    "an actor that failed": (
        ActorFinished(ADA, ActorResult("charge", False, {"name": "CardDeclined", "message": SECRET})),
        "WARNING order/ada: actor charge failed: CardDeclined",
    ),
    "what the machine emits": (Emitted(ADA, {"type": "PAID", "card": SECRET}, "k"), ""),
    "what the machine logs": (Logged(ADA, {"card": SECRET}, "paying"), "INFO order/ada: logged paying"),
    "a release": (
        Released(ADA, 2.0, ReleaseReason.FAILED, f"1 of 5 times, now with ValueError: {SECRET}"),
        "WARNING order/ada: released for 2 s: failed",
    ),
    "a turn that failed": (TurnFailed(ADA, RecordError(SECRET)), "ERROR order/ada: turn failed: RecordError"),
}


class Lines(logging.Handler):
    """The lines as a handler formats them, without and with the attributes that settled adds."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.attributes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}{record.exc_text or ''}")
        self.attributes.append(repr({name: each for name, each in vars(record).items() if name in ("event", "key")}))
        assert record.exc_info is None  # a traceback ends in the text of an error


@pytest.fixture
def lines_at() -> Iterator[Callable[[int], Lines]]:
    logger, handler = logging.getLogger("settled"), Lines()
    before = logger.level

    def at(level: int) -> Lines:
        logger.setLevel(level)
        logger.addHandler(handler)
        return handler

    yield at
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.mark.parametrize(("event", "line"), WITH_PAYLOAD.values(), ids=WITH_PAYLOAD.keys())
class TestPayloads:
    def test_are_in_no_line_above_debug(self, event: HostEvent, line: str, lines_at: Callable[[int], Lines]) -> None:
        written = lines_at(logging.INFO)
        log(event)
        assert written.lines == ([line] if line else [])
        assert SECRET not in str(written.attributes)

    def test_are_in_a_line_of_their_own_at_debug(
        self, event: HostEvent, line: str, lines_at: Callable[[int], Lines]
    ) -> None:
        written = lines_at(logging.DEBUG)
        log(event)
        *others, last = written.lines
        assert others == ([line] if line else [])
        assert last.startswith("DEBUG order/ada: ") and SECRET in last

    def test_are_written_as_a_redactor_returns_them(
        self, event: HostEvent, line: str, lines_at: Callable[[int], Lines]
    ) -> None:
        written = lines_at(logging.DEBUG)
        log_with(lambda payload: "(hidden)")(event)
        assert SECRET not in str(written.lines) and written.lines[-1].endswith(": (hidden)")


def test_members_that_are_named_like_secrets_are_hidden(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.DEBUG)
    names = ("password", "newPassword", "api_key", "access_token", "Authorization", "client-secret", "cookie")
    log(Emitted(ADA, {"type": "LOGIN", "user": "ada", "all": [{name: SECRET} for name in names]}, "k"))
    assert SECRET not in str(written.lines) and '"user":"ada"' in written.lines[0]


def test_a_long_payload_is_cut_off(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.DEBUG)
    log(Logged(ADA, "x" * 100_000, None))
    assert len(written.lines[-1]) < 1000


def test_the_text_of_an_error_of_the_backend_is_no_payload(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.INFO)
    log(TurnFailed(ADA, UnavailableError("redis://host: it does not answer")))
    assert written.lines == ["ERROR order/ada: turn failed: UnavailableError: redis://host: it does not answer"]


def test_a_worker_that_cannot_receive_says_so(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.INFO)
    log(ReceiveFailed(UnavailableError("redis://host: it does not answer"), 1.5))
    cause = "UnavailableError: redis://host: it does not answer"
    assert written.lines == [f"ERROR cannot receive, next attempt in 1.5 s: {cause}"]


def test_an_error_is_logged_with_its_cause_and_where_that_was_raised(lines_at: Callable[[int], Lines]) -> None:
    def guard() -> None:
        raise ValueError(SECRET)

    written = lines_at(logging.INFO)
    try:
        try:
            guard()
        except ValueError as error:
            raise LogicError(SECRET) from error
    except LogicError as error:
        log(TurnFailed(ADA, error))
    (line,) = written.lines
    assert "turn failed: LogicError, from ValueError in " in line and f"guard ({__file__}:" in line
    assert SECRET not in line


def test_an_observer_that_fails_is_logged_without_the_text_of_its_error(lines_at: Callable[[int], Lines]) -> None:
    def broken(event: HostEvent) -> None:
        raise KeyError(event)

    written = lines_at(logging.DEBUG)
    Observers((broken,))(Logged(ADA, SECRET, None))
    (line,) = written.lines
    assert line.startswith("ERROR an observer failed on Logged: KeyError in ") and "broken (" in line
    assert SECRET not in line


HOSTILE = "x\nERROR forged\r\x1b[2J\x9b1m\u202e\u2028\ud800"


def test_a_name_with_control_characters_stays_on_its_line(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.DEBUG)
    key = Key("order", HOSTILE)
    log(ActorFinished(key, ActorResult(HOSTILE, False, {"name": HOSTILE, "message": HOSTILE})))
    log(ActionPerformed(key, HOSTILE, HOSTILE, HOSTILE))
    log(Released(key, 2.0, ReleaseReason.FAILED, HOSTILE))
    log(TurnFailed(key, UnavailableError(HOSTILE)))
    log(TurnFailed(key, ValueError(HOSTILE)))
    log(MachineNotServed(HOSTILE))
    log(TurnStarted(key, (HOSTILE,)))
    log(Logged(ADA, HOSTILE, HOSTILE))
    log(DeadLettered(ADA, DeadLetter(Message(ADA, HOSTILE, ""), HOSTILE, 0.0, HOSTILE)))
    shown = r"x\nERROR forged\r\x1b[2J\x9b1m\u202e\u2028\ud800"
    assert all(line.isprintable() for line in (*written.lines, *written.attributes))
    assert f"DEBUG order/{shown}: turn started: {shown}" in written.lines


def test_an_ordinary_name_is_shown_as_it_is(lines_at: Callable[[int], Lines]) -> None:
    written = lines_at(logging.DEBUG)
    name = r"Zoë's \ 'order' / 注文 🎉"
    log(TurnStarted(Key("order", name), (name,)))
    assert written.lines == [f"DEBUG order/{name}: turn started: {name}"]


def test_the_text_of_an_error_is_one_printable_line() -> None:
    assert str(RecordError(f"order/{HOSTILE}: damaged")).isprintable()
