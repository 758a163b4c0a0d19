"""Set aside what is not settled's and names no instance: move it to the dead-letter queue of its queue.

SQS does that by itself, but only when it has delivered the message as often as the redrive policy says, and until then
it delivers nothing else of the group.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from settled_aws.client_protocols import SqsClient
from settled_aws.errors import translated
from settled_runtime.move_away import move_away

_POLICY = "RedrivePolicy"


def set_aside(client: SqsClient, queue: str, text: str, id: str, group: str = "") -> bool:
    """Send the SQS message `id` to the dead-letter queue of `queue`, and return whether it is there.

    The caller then deletes it from `queue`. Whatever happens is logged as an error, for an operator to see.

    Args:
        client: a client of the service ``sqs``.
        queue: the URL of the queue.
        text: the body of the message.
        id: its MessageId.
        group: its MessageGroupId, if `queue` is a FIFO queue.
    """
    return move_away(
        f"{queue.rpartition('/')[2]}: the message {id}",
        "dead-letter queue",
        lambda: _dead_letter_queue(client, queue),
        lambda target: _send(client, target, text, id, group),
    )


def _dead_letter_queue(client: SqsClient, queue: str) -> str:
    """Return the URL of the dead-letter queue of `queue`; empty if it has none."""
    with translated(f"reading the attributes of {queue}", repeatable=True):
        response = client.get_queue_attributes(QueueUrl=queue, AttributeNames=[_POLICY])
    policy = json.loads(response.get("Attributes", {}).get(_POLICY, "{}"))
    if "deadLetterTargetArn" not in policy:
        return ""
    # SQS requires it to be in the same region and account, so its URL differs in the name only.
    return f"{queue.rpartition('/')[0]}/{policy['deadLetterTargetArn'].rpartition(':')[2]}"


def _send(client: SqsClient, target: str, text: str, id: str, group: str) -> None:
    request: dict[str, Any] = {"QueueUrl": target, "MessageBody": text}
    if group:
        deduplication = hashlib.sha256(id.encode()).hexdigest()
        request |= {"MessageGroupId": group, "MessageDeduplicationId": deduplication}
    # Repeatable: if the answer is lost, the message is set aside again when it is delivered again.
    with translated(f"sending to {target}", repeatable=True):
        client.send_message(**request)
