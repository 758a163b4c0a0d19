"""The types that type checkers infer for `setup`. This file is checked and never run.

A wrong inference is an error in mypy or in pyright, and so is an error that is expected here and does not come. mypy
looks into some lambdas twice, the first time before it knows the context; hence the functions that take an exact type.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_type

from attrs import frozen

from settled import ActionArgs, Actor, Args, Call, Machine, Setup, Snapshot, actor, and_, assign, not_, raise_, setup
from settled.step.effects import Effect


@frozen
class Signup:
    plan: str
    email: str = ""


@frozen
class Verify:
    code: str


def of_signup(a: Args[Signup]) -> str:
    assert_type(a, Args[Signup, Any])
    assert_type(a.state, Snapshot[Signup])
    return a.context.email


def of_object(a: Args) -> Any:
    assert_type(a, Args[Mapping[str, Any], Any])
    return a.context["email"]


def action_of_signup(a: ActionArgs[Signup]) -> None:
    assert_type(a.call, Call)


def notify(a: ActionArgs[Signup, Verify]) -> None:
    assert_type(a.event.code, str)


def duration_of(a: Args[Signup]) -> timedelta:
    return timedelta(seconds=len(a.context.email))


async def send_email(input: Any, call: Call) -> str:
    return call.idempotency_key


REUSED = actor(send_email, timeout=timedelta(seconds=30))
REUSED_ASSIGN = assign(email=lambda a: a.event["email"])
WITH_INPUT = actor(send_email, input=of_signup)

signup = setup(
    context=Signup,
    create_context=lambda input: Signup(plan=input["plan"]),
    events={"VERIFY": Verify},
    guards={
        "named": lambda a: of_signup(a).startswith("a"),
        "is_plan": lambda a: a.context.plan == a.params["plan"],
        "is_neither": and_(not_("named"), not_("is_plan")),
    },
    actions={
        "save_email": assign(email=lambda a: of_signup(a), plan="free"),
        "save_all": assign(lambda a: {"email": of_signup(a)}),
        "raise": raise_(lambda a: {"type": "NEXT", "email": of_signup(a)}, delay=lambda a: duration_of(a)),
        "reused": REUSED_ASSIGN,
        "notify": notify,
        "print": lambda a: action_of_signup(a),
    },
    actors={
        "send_email": actor(send_email, input=lambda a: of_signup(a)),
        "reused": REUSED,
        "with_input": WITH_INPUT,
        "bare": send_email,
    },
    delays={"long": timedelta(hours=24), "computed": lambda a: duration_of(a)},
).machine("{}")

assert_type(signup, Machine[Signup])
snapshot, effects = signup.initial_transition(input={"plan": "free"})
assert_type(snapshot, Snapshot[Signup])
assert_type(effects, tuple[Effect, ...])
assert_type(snapshot.context, Signup)
assert_type(snapshot.matches("a.b"), bool)
assert_type(signup.load(""), Snapshot[Signup])

# A wrong attribute is an error in a lambda, even if it is the only one.

setup(
    context=Signup,
    guards={
        "wrong": lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    },
)
setup(
    context=Signup,
    actions={
        "wrong": lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        "no such attribute": lambda a: a.cal,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    },
)
setup(
    context=Signup,
    actions={
        "wrong": assign(
            plan="free",
            email=lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        ),
    },
)
setup(
    context=Signup,
    actions={
        "wrong": raise_(
            {"type": "NEXT"},
            delay=lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        ),
    },
)
setup(
    context=Signup,
    delays={
        "wrong": lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    },
)
setup(
    context=Signup,
    actors={
        "wrong": actor(
            send_email,
            input=lambda a: a.context.nme,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        ),
    },
)
setup(
    context=Verify,
    actors={
        "of another context": WITH_INPUT,  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    },
)
setup(
    context=Signup,
    guards={
        "a guard takes one argument": lambda a, params: True,  # type: ignore[dict-item, misc]  # pyright: ignore[reportArgumentType]
    },
)

# Without a class, the context is a JSON object. mypy then takes the context of a lambda for `Any`.

plain = setup().machine({})
assert_type(plain, Machine[Mapping[str, Any]])
assert_type(plain, Machine)
assert_type(setup(guards={"is_new": of_object}), Setup[Mapping[str, Any]])
lambdas = setup(guards={"is_new": lambda a: of_object(a), "is_old": lambda a: a.context["old"]}, actors={"a": REUSED})
lambdas.machine({}).initial_transition()[0].context["new"]
parent = setup(actors={"child": signup}).machine({})
assert_type(parent.initial_transition()[0].context, Mapping[str, Any])
fits_any: list[Actor] = [REUSED, WITH_INPUT]
