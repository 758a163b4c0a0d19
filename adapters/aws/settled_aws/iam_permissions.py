"""Leave: what each role must be allowed to do, and what IAM's own simulator says of it.

Nothing is tried: IAM is asked what it would answer. It does not know all that counts, such as an organisation's own
limits, but a policy that forgets something is found before the first timer does not fire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from settled_aws.connect import Addresses
from settled_aws.url import AwsUrl
from settled_runtime.doctor import BackendProblem

Permissions = Mapping[str, tuple[str, ...]]
"""Actions, by the ARN of what they are done to."""

_TABLE = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query")
_SCHEDULES = ("scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule")
_DELAYS = ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
_QUEUE = (*_DELAYS, "sqs:GetQueueAttributes")

_FOR_THE_SCHEDULER = {
    "ContextKeyName": "iam:PassedToService",
    "ContextKeyValues": ["scheduler.amazonaws.com"],
    "ContextKeyType": "string",
}


def of_the_turns(place: AwsUrl, found: Addresses) -> Permissions:
    """What whoever takes turns must be allowed."""
    return {
        _arn(found, "dynamodb", f"table/{place.table}"): _TABLE,
        found.queue_arn: _QUEUE,
        _arn(found, "sqs", place.delays): _DELAYS,
        _arn(found, "scheduler", f"schedule/{place.schedules}/any"): _SCHEDULES,
        found.role_arn: ("iam:PassRole",),
    }


def of_the_schedules(found: Addresses) -> Permissions:
    """What the schedules' role must be allowed."""
    return {found.queue_arn: ("sqs:SendMessage",)}


def missing_permissions(iam: Any, role: str, leave: Permissions, harm: str) -> Iterator[BackendProblem]:
    """What of `leave` the role with the ARN `role` does not have."""
    for resource, actions in leave.items():
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=list(actions),
            ResourceArns=[resource],
            ContextEntries=[_FOR_THE_SCHEDULER],
        )
        for result in answer["EvaluationResults"]:
            if result["EvalDecision"] != "allowed":
                what = f"{role.rpartition('/')[2]} has no leave for {result['EvalActionName']} on {resource}"
                yield BackendProblem(what, harm, "See the policies in examples/aws-signup.")


def _arn(found: Addresses, service: str, name: str) -> str:
    _, partition, _, region, account, _ = found.queue_arn.split(":")
    return f"arn:{partition}:{service}:{region}:{account}:{name}"
