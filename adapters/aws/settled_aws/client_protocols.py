"""Protocols for the AWS clients: the calls that this adapter makes, and no others.

boto3's clients satisfy them, as does any substitute with the same methods. AWS documents the requests and responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

BotoResponse: TypeAlias = Mapping[str, Any]


class DynamoDBClient(Protocol):
    """The client of the service ``dynamodb``."""

    def get_item(self, **request: Any) -> BotoResponse: ...

    def put_item(self, **request: Any) -> BotoResponse: ...

    def scan(self, **request: Any) -> BotoResponse: ...

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
