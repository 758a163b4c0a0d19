"""The types that type checkers infer for `setup`. This file is checked and never run.

A wrong inference is an error in mypy or in pyright.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_type

from attrs import frozen

from settled import ActionArgs, Args, Call, Machine, Snapshot, actor, and_, assign, not_, setup
from settled.step.effects import Effect


@frozen
class Signup:
    plan: str
    email: str = ""


@frozen
class Verify:
    code: str


def is_free(args: Args[Signup, Any]) -> bool:
    assert_type(args.state, Snapshot[Signup])
    return args.context.plan == "free"


def notify(args: ActionArgs[Signup, Verify], params: Mapping[str, Any]) -> None:
    assert_type(args.event.code, str)
    assert_type(args.call, Call)


async def send_email(input: Any, call: Call) -> str:
    return call.idempotency_key


signup = setup(
    context=Signup,
    create_context=lambda input: Signup(plan=input["plan"]),
    events={"VERIFY": Verify},
    guards={
        "is_free": is_free,
        "is_plan": lambda args, params: args.context.plan == params["plan"],
        "has_email": lambda args: args.context.email.startswith("a"),
        "is_neither": and_(not_("is_free"), not_("has_email")),
    },
    actions={
        "save_email": assign(email=lambda args: args.event["email"]),
        "notify": notify,
        "print": lambda args: print(args.context.email),
    },
    actors={"send_email": actor(send_email, timeout=timedelta(seconds=30)), "bare": send_email},
    delays={"long": timedelta(hours=24), "short": 10, "computed": lambda args: len(args.context.email)},
).machine("{}")

assert_type(signup, Machine[Signup, Any])
snapshot, effects = signup.initial_transition(input={"plan": "free"})
assert_type(snapshot, Snapshot[Signup])
assert_type(effects, tuple[Effect, ...])
assert_type(snapshot.context, Signup)
assert_type(snapshot.matches("a.b"), bool)
assert_type(signup.load(""), Snapshot[Signup])

plain = setup(guards={"is_new": lambda args: args.context["new"]}).machine({})
assert_type(plain, Machine[Mapping[str, Any], Any])
parent = setup(actors={"child": signup}).machine({})
assert_type(parent.initial_transition()[0].context, Mapping[str, Any])
