"""A Firestore that only tells the time, and a machine with its own monotonic clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, cast

from attrs import define, field

from settled_gcp.clock import ServerTime
from settled_gcp.documents import Collection
from tests.adapters.gcp.fixtures import DATABASE

firestore: Any = import_module("google.cloud.firestore_v1.types")

HERE = Collection(DATABASE, "signup")
START = 1_790_000_000.25


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)


@define
class World:
    """Firestore, whose clock shows `true`, and a machine whose monotonic clock shows `ticks`."""

    true: float = START
    ticks: float = 5.0
    fails: Exception | None = None
    asked: list[Any] = field(factory=list[Any])

    def batch_get_documents(self, request: Any, retry: None, timeout: float) -> Iterator[Any]:
        if self.fails is not None:
            raise self.fails
        wanted = firestore.BatchGetDocumentsRequest(request)
        self.asked.append(wanted)
        yield firestore.BatchGetDocumentsResponse(missing=wanted.documents[0], read_time=at(self.true))

    def passes(self, seconds: float, rate: float = 1.0) -> None:
        self.true += seconds
        self.ticks += seconds * rate

    @property
    def clock(self) -> ServerTime:
        return ServerTime(cast("Any", self), HERE, ticks=lambda: self.ticks)
