"""IAM permissions that each role needs, and a check for them with IAM's policy simulator.

The simulator decides without making the calls. It does not see everything that counts, such as an organisation's
service control policies, but it finds a permission that a policy lacks before the first timer fails to fire.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from settled_aws.connect import Addresses
from settled_aws.url import AwsUrl
from settled_runtime.doctor import BackendProblem

Permissions = Mapping[str, tuple[str, ...]]
"""IAM actions, by the ARN of the resource."""

# In a transaction each item needs the permission of its own operation.
_TABLE = (
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:DeleteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:Query",
)
_SCHEDULES = ("scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule")
_QUEUE = (
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
)

_PASSED_TO_SCHEDULER = {
    "ContextKeyName": "iam:PassedToService",
    "ContextKeyValues": ["scheduler.amazonaws.com"],
    "ContextKeyType": "string",
}


def worker_permissions(url: AwsUrl, addresses: Addresses) -> Permissions:
    """Return the permissions of a worker or a function that takes turns."""
    return {
        _arn(addresses, "dynamodb", f"table/{url.table}"): _TABLE,
        **dict.fromkeys(addresses.all_queue_arns, _QUEUE),
        _arn(addresses, "sqs", url.delays): _QUEUE,
        _arn(addresses, "scheduler", f"schedule/{url.schedules}/any"): _SCHEDULES,
        addresses.role_arn: ("iam:PassRole",),
    }


def set_aside_permissions(queues: Iterable[Mapping[str, str]]) -> Permissions:
    """Return the permissions to set aside what no instance can take, from queues with these attributes."""
    policies = [json.loads(queue.get("RedrivePolicy", "{}")) for queue in queues]
    targets = [policy["deadLetterTargetArn"] for policy in policies if "deadLetterTargetArn" in policy]
    return dict.fromkeys(targets, ("sqs:SendMessage",))


def schedule_role_permissions(addresses: Addresses) -> Permissions:
    """Return the permissions of the role that schedules assume."""
    return dict.fromkeys((*addresses.all_queue_arns, addresses.schedules_dead_arn), ("sqs:SendMessage",))


def missing_permissions(iam: Any, role: str, permissions: Permissions, consequence: str) -> Iterator[BackendProblem]:
    """Yield a problem for each of `permissions` that the role with the ARN `role` lacks."""
    for resource, actions in permissions.items():
        response = iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=list(actions),
            ResourceArns=[resource],
            ContextEntries=[_PASSED_TO_SCHEDULER],  # the examples allow iam:PassRole only under this condition
        )
        for result in response["EvaluationResults"]:
            if result["EvalDecision"] != "allowed":
                problem = f"{role.rpartition('/')[2]} lacks the permission {result['EvalActionName']} on {resource}"
                yield BackendProblem(problem, consequence, "See the policies in examples/aws-signup.")


def _arn(addresses: Addresses, service: str, name: str) -> str:
    _, partition, _, region, account, _ = addresses.queue_arn.split(":")
    return f"arn:{partition}:{service}:{region}:{account}:{name}"
