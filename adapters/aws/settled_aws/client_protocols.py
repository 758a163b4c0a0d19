"""What is asked of AWS's clients: the calls that are made, and no more.

A client of boto3 has these methods, and anything else that has them may stand in for one. What they are called with
and what they answer is the vendor's, and documented there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

Answer: TypeAlias = Mapping[str, Any]


class DynamoDBClient(Protocol):
    """The client of the service ``dynamodb``."""

    def get_item(self, **request: Any) -> Answer: ...

    def put_item(self, **request: Any) -> Answer: ...

    def query(self, **request: Any) -> Answer: ...

    def transact_write_items(self, **request: Any) -> Answer: ...


class SqsClient(Protocol):
    """The client of the service ``sqs``."""

    def send_message(self, **request: Any) -> Answer: ...

    def send_message_batch(self, **request: Any) -> Answer: ...

    def receive_message(self, **request: Any) -> Answer: ...

    def delete_message_batch(self, **request: Any) -> Answer: ...

    def change_message_visibility_batch(self, **request: Any) -> Answer: ...

    def get_queue_attributes(self, **request: Any) -> Answer: ...


class SchedulerClient(Protocol):
    """The client of the service ``scheduler``."""

    def create_schedule(self, **request: Any) -> Answer: ...

    def update_schedule(self, **request: Any) -> Answer: ...

    def delete_schedule(self, **request: Any) -> Answer: ...
