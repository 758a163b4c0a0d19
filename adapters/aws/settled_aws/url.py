"""What a backend's URL says, and nothing of what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from settled.errors import BackendConfigError
from settled_runtime.url import options_in, seconds

EXPECTED = "expected aws://REGION/NAME, as in aws://eu-central-1/signup"


@frozen
class AwsUrl:
    """Where on AWS a backend is.

    What is not given has its name from NAME: the table NAME, the queue NAME.fifo, the queue of short waits NAME-delays,
    the schedule group NAME, the role NAME-scheduler. `account` is the number of the account; without it, one request
    finds it out. `lease` and `keep_finished` are in seconds, `largest_message` in bytes: more than 384 KiB may not fit
    into an item of the table, and so could neither be taken nor be set aside.
    """

    region: str
    table: str
    queue: str
    delays: str
    schedules: str
    role: str
    account: str | None = None
    lease: int = 30
    keep_finished: float | None = None
    largest_message: int = 384 * 1024


def place_in(url: str) -> AwsUrl:
    """The place that ``aws://REGION/NAME?OPTIONS`` names; the options are the fields of `Place`.

    Raises:
        Denied: the URL is another one, or has an option that is not known.
    """
    place, _, query = url.partition("?")
    region, _, name = place.removeprefix("aws://").partition("/")
    if not place.startswith("aws://") or not region or not name or "/" in name:
        raise BackendConfigError(f"{url}: {EXPECTED}")
    return AwsUrl(region=region, **{**_named(name), **options_in(query, _KNOWN, url)})


def _named(name: str) -> dict[str, Any]:
    return {
        "table": name,
        "queue": f"{name}.fifo",
        "delays": f"{name}-delays",
        "schedules": name,
        "role": f"{name}-scheduler",
    }


def _name(text: str) -> str:
    if not text:
        raise ValueError("expected a name")
    return text


def _account(text: str) -> str:
    if len(text) != 12 or not text.isdigit():
        raise ValueError("expected the 12 digits of an account")
    return text


def _lease(text: str) -> int:
    lease = int(text)
    if not 1 <= lease <= 12 * 60 * 60:
        raise ValueError("expected whole seconds, from 1 to 43200: SQS counts in them")
    return lease


def _bytes(text: str) -> int:
    count = int(text)
    if not 1024 <= count <= 1024 * 1024:
        raise ValueError("expected a number of bytes, from 1024 to 1048576: what SQS lets a queue be set to")
    return count


_KNOWN: Mapping[str, Callable[[str], Any]] = {
    "table": _name,
    "queue": _name,
    "delays": _name,
    "schedules": _name,
    "role": _name,
    "account": _account,
    "lease": _lease,
    "keep_finished": seconds,
    "largest_message": _bytes,
}
