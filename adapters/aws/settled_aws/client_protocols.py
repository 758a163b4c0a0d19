"""What is asked of AWS's clients: the calls that are made, and no more.

A client of boto3 has these methods, and anything else that has them may stand in for one. What they are called with
and what they answer is the vendor's, and documented there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

BotoResponse: TypeAlias = Mapping[str, Any]


class DynamoDBClient(Protocol):
    """The client of the service ``dynamodb``."""

    def get_item(self, **request: Any) -> BotoResponse: ...

    def put_item(self, **request: Any) -> BotoResponse: ...

    def query(self, **request: Any) -> BotoResponse: ...

    def transact_write_items(self, **request: Any) -> BotoResponse: ...


class SqsClient(Protocol):
    """The client of the service ``sqs``."""

    def send_message(self, **request: Any) -> BotoResponse: ...

    def send_message_batch(self, **request: Any) -> BotoResponse: ...

    def receive_message(self, **request: Any) -> BotoResponse: ...

    def delete_message_batch(self, **request: Any) -> BotoResponse: ...

    def change_message_visibility_batch(self, **request: Any) -> BotoResponse: ...

    def get_queue_attributes(self, **request: Any) -> BotoResponse: ...


class SchedulerClient(Protocol):
    """The client of the service ``scheduler``."""

    def create_schedule(self, **request: Any) -> BotoResponse: ...

    def update_schedule(self, **request: Any) -> BotoResponse: ...

    def delete_schedule(self, **request: Any) -> BotoResponse: ...
