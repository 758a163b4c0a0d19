"""Parse ``aws://`` URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from attrs import field, frozen

from settled.errors import BackendConfigError
from settled_runtime.url import duration, number, options_in, without_credentials

EXPECTED = "expected aws://REGION/NAME, as in aws://eu-central-1/signup"


@frozen
class AwsUrl:
    """A parsed ``aws://REGION/NAME?OPTIONS``.

    Options that are not given follow from NAME: the table NAME, the FIFO queue NAME.fifo, the delay queue NAME-delays,
    the schedule group NAME, its dead-letter queue NAME-schedules-dead, the role NAME-scheduler. `account` is the
    12-digit account id; without it, opening the backend takes one more request. `lease` is whole seconds;
    `largest_message` is in bytes. `queues` are the FIFO queues of machines that have one of their own, by their ids.
    """

    region: str
    table: str
    queue: str
    delays: str
    schedules: str
    schedules_dead: str
    role: str
    account: str | None = None
    lease: timedelta = timedelta(seconds=30)
    keep_finished: timedelta | None = None
    # A DynamoDB item holds 400 KB: a larger message does not fit into the record of an instance that has to keep it.
    largest_message: int = 384 * 1024
    queues: Mapping[str, str] = field(factory=dict[str, str])


def parse_url(url: str) -> AwsUrl:
    """Parse ``aws://REGION/NAME?OPTIONS``; the options are the fields of `AwsUrl`.

    Raises:
        BackendConfigError: the URL does not have this form, or has an unknown option or an invalid value.
    """
    shown = without_credentials(url)
    base, _, query = url.partition("?")
    region, _, name = base.removeprefix("aws://").partition("/")
    if not base.startswith("aws://") or not region or not name or "/" in name:
        raise BackendConfigError(f"{shown}: {EXPECTED}")
    return AwsUrl(region=region, **{**_default_names(name), **options_in(query, _OPTIONS, shown)})


def _default_names(name: str) -> dict[str, Any]:
    return {
        "table": name,
        "queue": f"{name}.fifo",
        "delays": f"{name}-delays",
        "schedules": name,
        "schedules_dead": f"{name}-schedules-dead",
        "role": f"{name}-scheduler",
    }


def _name(text: str) -> str:
    if not text:
        raise ValueError("expected a name")
    return text


def _queues(text: str) -> Mapping[str, str]:
    queues: dict[str, str] = {}
    for each in text.split(","):
        machine, _, queue = each.rpartition(":")
        if not machine or not queue or machine in queues:
            raise ValueError("expected MACHINE:QUEUE,MACHINE:QUEUE,... with each machine once")
        queues[machine] = queue
    return queues


def _account(text: str) -> str:
    if len(text) != 12 or not text.isdigit():
        raise ValueError("expected the 12 digits of an account")
    return text


def _lease(text: str) -> timedelta:
    lease = number(text, 1)
    if not 1 <= lease <= 12 * 60 * 60:
        raise ValueError("expected whole seconds, from 1 to 43200: SQS counts in them")
    return timedelta(seconds=lease)


MAX_LARGEST_MESSAGE = 480 * 1024
"""The highest `AwsUrl.largest_message`: however it has to be escaped, SQS takes such a message."""


def _bytes(text: str) -> int:
    count = number(text, 1)
    if not 1024 <= count <= MAX_LARGEST_MESSAGE:
        raise ValueError(f"expected a number of bytes, from 1024 to {MAX_LARGEST_MESSAGE}: more may not fit into SQS")
    return count


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "table": _name,
    "queue": _name,
    "delays": _name,
    "schedules": _name,
    "schedules_dead": _name,
    "role": _name,
    "account": _account,
    "lease": _lease,
    "keep_finished": duration,
    "largest_message": _bytes,
    "queues": _queues,
}
