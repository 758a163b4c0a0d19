"""The store: one Firestore document for each record, and one below it for each dead letter.

A commit is one batch, which Firestore does wholly or not at all; dead letters are part of it. What makes it safe is
checked where it is written, in one of two ways. By `Contention.PRECONDITION` the record must not have been written
since it was read: nobody waits for anybody, and of many the first one wins. By `Contention.TRANSACTION` the version is
read under a lock that lasts until the commit: others wait for it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from settled.durable.ports import DELETED, DeadLetter, Stored
from settled.errors import ConflictError, TooLargeError
from settled.key import Key
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.clock import ServerTime
from settled_gcp.documents import (
    LARGEST_COMMIT,
    LISTED,
    Collection,
    fits,
    key_in,
    letter_fields,
    letter_in,
    record_fields,
    stored_in,
    version_in,
)
from settled_gcp.errors import translated

FirestoreRequest: TypeAlias = Mapping[str, Any]

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""The statuses of instances that nothing happens to any more."""

REMEMBERED = 10_000
"""Of how many keys it is remembered when Firestore wrote the version that was last seen."""

_CREATED_SINCE = ("ALREADY_EXISTS",)
_WRITTEN_SINCE = ("FAILED_PRECONDITION", "NOT_FOUND")
"""What Firestore says if a precondition does not hold: NOT_FOUND if the record has expired."""


class ConcurrencyMode(StrEnum):
    """How a commit makes sure that nobody else has committed since."""

    PRECONDITION = "precondition"
    TRANSACTION = "transaction"


class FirestoreStore:
    """The store in `collection`.

    With `keep_finished`, in seconds, an instance that is done, failed, stopped or deleted is marked to expire (the
    timestamp ``expires``) that long after its last commit; its dead letters are not. An instance that has expired was
    never there: its versions and idempotency keys begin again if its name is used again. `clock` is the time in seconds
    since the epoch, if it is not to be Firestore's own; `timeout`, in seconds, is how long a request may take.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        *,
        keep_finished: float | None = None,
        contention: ConcurrencyMode = ConcurrencyMode.PRECONDITION,
        clock: Callable[[], float] | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._client = client
        self.collection = collection
        self._keep_finished = keep_finished
        self._contention = contention
        self._clock = ServerTime.of(client, collection, clock)
        self._timeout = timeout
        self._moments = _Moments()

    def load(self, key: Key) -> Stored | None:
        with translated(f"reading {key} from {self.collection.name}", repeatable=True):
            document, _ = self._read(key)
        return None if document is None else stored_in(document)

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        """Write `stored` if the version is still `expected` (0: there is none).

        Raises:
            Conflict: another commit came first; nothing was written.
            TooLarge: a document would pass 1 MiB, or all of them together 10 MiB; nothing was written.
            Unknown: the answer was lost; load and look.
        """
        writes = [self._record(key, stored), *(self._letter(key, stored, at, each) for at, each in enumerate(bury))]
        if unbury:
            # Whoever moves dead letters commits, so these are still the heads if the version is still `expected`.
            writes += [{"delete": head.name} for head in self._letters(key, unbury, ("__name__",))]
        self._commit(key, stored.version, expected, writes)

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return [letter_in(key, letter) for letter in self._letters(key)]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Put `tombstone` in the place of the text and the dead letters of `key` if the version is still `expected`.

        Raises:
            Conflict: the version was not `expected`; nothing was deleted.
            TooLarge: there are so many dead letters that their names alone pass 10 MiB; nothing was deleted.
        """
        letters = [{"delete": letter.name} for letter in self._letters(key, fields=("__name__",))]
        self._commit(key, tombstone.version, expected, [self._record(key, tombstone), *letters])

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Instances in the order of their keys, without their bodies, at the price of one read each.

        Of keys of more than 1,500 bytes only the beginnings count for the order.
        """
        start = None if after is None else self.collection.record(after)
        found: list[tuple[Key, Stored]] = []
        while len(found) < limit:
            page = self._page(machine, start, limit - len(found), status)
            found += [(key_in(each), kept) for each in page if not (kept := stored_in(each)).is_deleted]
            if not page:
                break
            start = page[-1].name
        return found

    # One request each

    def _read(self, key: Key, **options: Any) -> tuple[Any, bytes]:
        """The document of `key`, if there is one, and the transaction that was begun, if one was asked for."""
        request = {"database": self.collection.database, "documents": [self.collection.record(key)], **options}
        document, transaction = None, b""
        for answer in self._client.batch_get_documents(request=request, retry=None, timeout=self._timeout):
            self._clock.heard(answer.read_time)
            transaction = answer.transaction or transaction
            if "found" in answer:
                document = answer.found
                self._moments.remember(key, version_in(document), document.update_time)
        return document, transaction

    def _commit(self, key: Key, version: int, expected: int, writes: list[FirestoreRequest]) -> None:
        """Do all of `writes`, the first of which is the record's.

        Raises:
            Conflict: the version is not `expected`.
        """
        self._fit(key, writes)
        request = {"database": self.collection.database, **self._checked(key, expected, writes)}
        what = f"committing {key}, version {version}, to {self.collection.name}"
        with translated(what, races=_CREATED_SINCE if expected == 0 else _WRITTEN_SINCE):
            answer = self._client.commit(request=request, retry=None, timeout=self._timeout)
        self._clock.heard(answer.commit_time)
        self._moments.remember(key, version, answer.write_results[0].update_time)

    def _page(self, machine: str | None, start: str | None, limit: int, status: str | None) -> Sequence[Any]:
        conditions = [] if status is None else [_is("status", "EQUAL", {"string_value": status})]
        if machine is not None:
            first, behind = self.collection.bounds(machine)
            conditions += [_is("__name__", "GREATER_THAN_OR_EQUAL", {"reference_value": first})]
            conditions += [_is("__name__", "LESS_THAN", {"reference_value": behind})]
        query: dict[str, Any] = {
            "select": {"fields": [{"field_path": field} for field in LISTED]},
            "from_": [{"collection_id": self.collection.name}],
            "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
            "limit": limit,
        }
        if conditions:
            query["where"] = {"composite_filter": {"op": "AND", "filters": conditions}}
        if start is not None:
            query["start_at"] = {"values": [{"reference_value": start}], "before": False}
        return self._found(f"listing {self.collection.name}", self.collection.parent, query)

    def _letters(self, key: Key, limit: int | None = None, fields: Sequence[str] = ()) -> Sequence[Any]:
        """The documents of the dead letters of `key`, oldest first: all of them, or the first `limit`."""
        query: dict[str, Any] = {"from_": [{"collection_id": self.collection.letters}]}
        if fields:
            query["select"] = {"fields": [{"field_path": field} for field in fields]}
        if limit is not None:
            query["limit"] = limit
        return self._found(f"reading the dead letters of {key}", self.collection.record(key), query)

    def _found(self, what: str, parent: str, query: FirestoreRequest) -> Sequence[Any]:
        request = {"parent": parent, "structured_query": query}
        with translated(what, repeatable=True):
            answers = self._client.run_query(request=request, retry=None, timeout=self._timeout)
            return [answer.document for answer in self._clock.heard_in(answers) if "document" in answer]

    # What a commit is made of

    def _checked(self, key: Key, expected: int, writes: list[FirestoreRequest]) -> FirestoreRequest:
        """The part of a commit's request that makes sure of the version."""
        match self._contention:
            case ConcurrencyMode.PRECONDITION:
                record, *others = writes
                return {"writes": [{**record, "current_document": self._unchanged(key, expected)}, *others]}
            case ConcurrencyMode.TRANSACTION:
                return {"writes": writes, "transaction": self._locked(key, expected)}
            case _:
                assert_never(self._contention)

    def _unchanged(self, key: Key, expected: int) -> FirestoreRequest:
        if expected == 0:
            return {"exists": False}
        if (moment := self._moments.of(key, expected)) is None:
            document, _ = self._version(key)
            self._expect(key, document, expected)
            moment = document.update_time
        return {"update_time": moment}

    def _locked(self, key: Key, expected: int) -> bytes:
        """A transaction in which the version is `expected`, and stays so."""
        document, transaction = self._version(key, new_transaction={"read_write": {}})
        try:
            self._expect(key, document, expected)
        except ConflictError:
            with translated(f"giving {key} back", repeatable=True):
                request = {"database": self.collection.database, "transaction": transaction}
                self._client.rollback(request=request, retry=None, timeout=self._timeout)
            raise
        return transaction

    def _version(self, key: Key, **options: Any) -> tuple[Any, bytes]:
        with translated(f"reading the version of {key} from {self.collection.name}", repeatable=True):
            return self._read(key, mask={"field_paths": ["version"]}, **options)

    def _expect(self, key: Key, document: Any, expected: int) -> None:
        found = 0 if document is None else version_in(document)
        if found != expected:
            raise ConflictError(f"committing {key}, version {expected + 1}: another commit came first, version {found}")

    def _record(self, key: Key, stored: Stored) -> FirestoreRequest:
        keep = self._keep_finished if stored.index.status in FINISHED else None
        fields = record_fields(key, stored, None if keep is None else self._clock() + keep)
        return {"update": {"name": self.collection.record(key), "fields": fields}}

    def _letter(self, key: Key, stored: Stored, place: int, letter: DeadLetter) -> FirestoreRequest:
        return {"update": {"name": self.collection.letter(key, stored.version, place), "fields": letter_fields(letter)}}

    def _fit(self, key: Key, writes: Sequence[FirestoreRequest]) -> None:
        """Go on only if Firestore takes these writes.

        Raises:
            TooLarge: it does not.
        """
        size = 0
        for at, write in enumerate(writes):
            if document := write.get("update"):
                what = "a dead letter" if at else f"the record of {key}"
                size += fits(document["name"], document["fields"], what)
            else:
                size += len(write["delete"].encode())
        if size > LARGEST_COMMIT:
            raise TooLargeError(f"{key}: {size:,} bytes at once, and Firestore takes {LARGEST_COMMIT:,}")


class _Moments:
    """When Firestore wrote the version of a key that was last seen here."""

    def __init__(self) -> None:
        self._of: OrderedDict[Key, tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Key, version: int) -> Any | None:
        with self._lock:
            known, moment = self._of.get(key, (0, None))
            return moment if known == version else None

    def remember(self, key: Key, version: int, moment: Any) -> None:
        with self._lock:
            self._of[key] = (version, moment)
            self._of.move_to_end(key)
            if len(self._of) > REMEMBERED:
                self._of.popitem(last=False)


def _is(field: str, comparison: str, value: FirestoreRequest) -> FirestoreRequest:
    return {"field_filter": {"field": {"field_path": field}, "op": comparison, "value": value}}
