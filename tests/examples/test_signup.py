"""The specification of the sign-up: every path through it, in virtual time."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, evolve, field

from examples.signup import machine as example
from settled import Actor, Call, EventError, Machine, Outcome, setup
from settled.chart.implementations import is_actor
from tests.support.virtual_world import World

HOUR = 3600.0
CODE = "042137"
SUBMIT = {"type": "SUBMIT", "email": "ada@example.org"}


def verify(code: str) -> dict[str, str]:
    return {"type": "VERIFY", "code": code}


@define
class Outside:
    """The services that the sign-up calls. Each can be made to fail a number of times."""

    mails: list[tuple[str, str, str]] = field(factory=list[tuple[str, str, str]])
    accounts: list[str] = field(factory=list[str])
    mails_that_fail: int = 0
    accounts_that_fail: int = 0

    def send_email(self, input: Any, call: Call) -> None:
        self.mails.append((input["to"], input["code"], call.idempotency_key))
        if len(self.mails) <= self.mails_that_fail:
            raise smtplib.SMTPServerDisconnected("try later")

    def create_account(self, input: Any, call: Call) -> str:
        self.accounts.append(call.idempotency_key)
        if len(self.accounts) <= self.accounts_that_fail:
            raise ConnectionError("no accounts today")
        return "account-1"


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def world(outside: Outside) -> World:
    """A world in which the sign-up was started."""
    world = World(with_actors_of(outside))
    world.start()
    world.settle(until=world.now)
    return world


def with_actors_of(outside: Outside) -> Machine[Any]:
    """Return the machine of the example, with actors that call `outside`."""
    logic = example.machine.implementations
    functions: dict[str, Callable[[Any, Call], Any]] = {
        "drawCode": lambda input, call: CODE,
        "sendEmail": outside.send_email,
        "createAccount": outside.create_account,
    }
    actors = {name: with_function(logic.actors[name], function) for name, function in functions.items()}
    return setup(
        context=example.Signup,
        events=logic.events,
        guards=logic.guards,
        actions=logic.actions,
        actors=actors,
        delays=logic.delays,
    ).machine(example.CONFIG)


def with_function(actor: Any, function: Callable[[Any, Call], Any]) -> Actor:
    return evolve(actor, function=function) if is_actor(actor) else Actor(function)


def send(world: World, event: Any, wait: float = 0.0) -> Outcome | None:
    """Send `event`, run everything for `wait` seconds, and return the outcome of the event."""
    id = world.send(event)
    world.settle(until=world.now + wait)
    return world.outcome(id)


class TestTheForm:
    def test_leads_to_an_email_with_the_code(self, world: World, outside: Outside) -> None:
        assert send(world, SUBMIT) is Outcome.RESOLVED
        assert world.value() == {"waitingForCode": "codeSent"}
        assert [(to, code) for to, code, _ in outside.mails] == [("ada@example.org", CODE)]

    @pytest.mark.parametrize(
        "event", [{"type": "SUBMIT"}, {"type": "SUBMIT", "email": 7}, {"type": "SUBMIT", "email": "ada"}]
    )
    def test_an_invalid_address_is_an_invalid_event(self, world: World, event: Any) -> None:
        with pytest.raises(EventError, match="SUBMIT"):
            world.machine.check_event(event)
        assert send(world, event) is Outcome.INVALID
        assert world.value() == "form"


class TestTheEmail:
    def test_is_tried_again_under_the_same_key(self, world: World, outside: Outside) -> None:
        outside.mails_that_fail = 4
        send(world, SUBMIT, wait=60.0)
        assert world.value() == {"waitingForCode": "codeSent"}
        assert len(outside.mails) == 5
        assert len(set(outside.mails)) == 1, "one address, one code, one idempotency key"

    def test_that_fails_for_good_stores_the_reason_and_can_be_sent_again(self, world: World, outside: Outside) -> None:
        outside.mails_that_fail = 5
        assert send(world, SUBMIT, wait=60.0) is Outcome.REJECTED
        assert world.value() == "emailFailed"
        assert world.snapshot().context.problem == "SMTPServerDisconnected: try later"
        assert send(world, SUBMIT) is Outcome.RESOLVED
        assert world.snapshot().context.problem is None
        assert len({key for _, _, key in outside.mails}) == 2, "another form, another e-mail"


class TestTheCode:
    @pytest.fixture(autouse=True)
    def waiting(self, world: World) -> None:
        send(world, SUBMIT)

    def test_activates_the_account(self, world: World) -> None:
        assert send(world, verify(CODE)) is Outcome.RESOLVED
        assert (world.value(), world.snapshot().status) == ("active", "done")
        assert world.snapshot().context.account == "account-1"

    def test_may_be_wrong_twice(self, world: World) -> None:
        assert send(world, verify("000000")) is Outcome.REJECTED
        assert send(world, verify("000001")) is Outcome.REJECTED
        assert world.value() == {"waitingForCode": "wrongCode"}
        assert send(world, verify(CODE)) is Outcome.RESOLVED

    def test_that_is_wrong_three_times_locks_the_sign_up(self, world: World) -> None:
        for code in ("000000", "000001", "000002"):
            assert send(world, verify(code)) is Outcome.REJECTED
        assert world.value() == "locked"
        assert send(world, verify(CODE)) is Outcome.IGNORED
        assert world.value() == "locked"

    def test_that_arrives_twice_counts_once(self, world: World) -> None:
        for _ in range(3):
            world.send(verify("000000"), id="click")
            world.settle(until=world.now)
        assert world.snapshot().context.wrongCodes == 1

    def test_is_good_for_a_day(self, world: World) -> None:
        world.settle(until=world.now + 23 * HOUR)
        assert world.value() == {"waitingForCode": "codeSent"}
        world.now += 23 * HOUR
        assert send(world, verify(CODE)) is Outcome.RESOLVED

    def test_expires_after_a_day(self, world: World) -> None:
        world.settle(until=world.now + 25 * HOUR)
        assert world.value() == "expired"
        assert send(world, verify(CODE)) is Outcome.IGNORED

    def test_does_not_expire_later_after_a_wrong_try(self, world: World) -> None:
        submitted = world.now
        world.now += 23 * HOUR
        send(world, verify("000000"))
        world.settle(until=submitted + 24 * HOUR)
        assert world.value() == "expired"


class TestTheAccount:
    def test_that_cannot_be_created_can_be_retried(self, world: World, outside: Outside) -> None:
        outside.accounts_that_fail = 5
        send(world, SUBMIT)
        assert send(world, verify(CODE), wait=60.0) is Outcome.REJECTED
        assert world.value() == "activationFailed"
        assert world.snapshot().context.problem == "ConnectionError: no accounts today"
        assert send(world, {"type": "RETRY"}) is Outcome.RESOLVED
        assert world.value() == "active"


def test_a_failed_email_expires_after_a_day(world: World, outside: Outside) -> None:
    outside.mails_that_fail = 5
    send(world, SUBMIT, wait=25 * HOUR)
    assert world.value() == "expired"
