"""The store on Firestore: a document for each record, and one or more in its subcollection for each dead letter.

A commit is one Commit request, with the record and its dead letters; Firestore applies all of it or nothing. Firestore
itself also checks the version, in one of two ways. By `ConcurrencyMode.PRECONDITION` the record's update time must be
unchanged: the first of several commits wins, and none waits (optimistic). By `ConcurrencyMode.TRANSACTION` the version
is read under a lock that is held until the commit: others wait (pessimistic).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from settled.durable.ports import DELETED, DeadLetter, Stored
from settled.durations import in_seconds
from settled.errors import ConflictError, TooLargeError
from settled.key import Key
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.clock import ServerTime
from settled_gcp.documents import (
    LISTED_FIELDS,
    MAX_COMMIT_BYTES,
    Collection,
    checked_size,
    dead_letter_fields,
    dead_letter_from,
    divided,
    fits,
    key_from,
    pieces_of,
    record_fields,
    stored_from,
    version_from,
)
from settled_gcp.errors import translated

FirestoreRequest: TypeAlias = Mapping[str, Any]

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""Statuses of instances that have ended or never started; only these may expire."""

MAX_CACHED_UPDATE_TIMES = 10_000
"""For how many keys the update time of the latest known version is cached."""

_NAMES = ("__name__", "pieces")
"""The fields that the names of all documents of a dead letter follow from."""

_LOST_CREATE_STATUSES = ("ALREADY_EXISTS",)
_LOST_UPDATE_STATUSES = ("FAILED_PRECONDITION", "NOT_FOUND")
"""The statuses of a precondition that fails; NOT_FOUND if the record has expired."""


class ConcurrencyMode(StrEnum):
    """How a commit detects that another one came first."""

    PRECONDITION = "precondition"
    TRANSACTION = "transaction"


class FirestoreStore:
    """The store in `collection`.

    With `keep_finished`, the record of an instance that is done, failed, stopped or deleted, and has no dead letters,
    expires that long after its last commit (field ``expires``, for a TTL policy). An expired instance leaves no trace;
    a backend with this store declares `Capability.EXPIRY`, so that versions do not repeat in the next instance under
    its key. `clock` is the time in seconds since the epoch, Firestore's own by default; `timeout` is that of a request.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        *,
        keep_finished: timedelta | None = None,
        contention: ConcurrencyMode = ConcurrencyMode.PRECONDITION,
        clock: Callable[[], float] | None = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._client = client
        self.collection = collection
        self._keep_finished = None if keep_finished is None else in_seconds(keep_finished, "keep_finished")
        self._contention = contention
        self._clock = ServerTime.of(client, collection, clock)
        self._timeout = in_seconds(timeout, "timeout")
        self._update_times = _UpdateTimes()

    def load(self, key: Key) -> Stored | None:
        with translated(f"reading {key} from {self.collection.name}", repeatable=True):
            document, _ = self._read_document(key)
        return None if document is None else stored_from(document)

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        """Write `stored` if the version is still `expected` (0: there is no record).

        Raises:
            ConflictError: another commit came first; nothing was written.
            TooLargeError: a document is larger than 1 MiB, or all together are larger than 10 MiB; nothing was written.
            OutcomeUnknownError: the response was lost; load the record to find out.
        """
        additions = [
            write
            for number, each in enumerate(add_dead_letters)
            for write in self._dead_letter_writes(key, stored.version, number, each)
        ]
        may_expire = self._keep_finished is not None and stored.index.status in FINISHED and not add_dead_letters
        # Every change of the dead letters is part of a commit. So if the version is still `expected` at the commit,
        # the oldest ones are still those that this query returned, although it is no part of the transaction.
        limit = remove_dead_letters + may_expire
        oldest = self._query_dead_letters(key, limit, _NAMES) if limit else ()
        # A dead letter that outlived its record would be one of the next instance.
        may_expire = may_expire and len(oldest) <= remove_dead_letters
        # If its record was removed by hand, it may have the name of a new one.
        added = [each["update"]["name"] for each in additions]
        removed = [name for each in oldest[:remove_dead_letters] for name in self._names(each)]
        removals = [{"delete": name} for name in removed if name not in added]
        record = self._record_write(key, stored, may_expire=may_expire)
        self._commit(key, stored.version, expected, [record, *additions, *removals])

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        documents = self._query_dead_letters(key)
        names = [name for each in documents for name in self._names(each)[1:]]
        pieces = self._read_pieces(key, names)
        letters = [(each, self._names(each)[1:]) for each in documents]
        # Of a dead letter that was removed meanwhile, pieces are missing.
        whole = [(each, names) for each, names in letters if all(name in pieces for name in names)]
        return [dead_letter_from(key, each, [pieces[name] for name in names]) for each, names in whole]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Replace the record by `tombstone` and delete the dead letters of `key` if the version is still `expected`.

        Raises:
            ConflictError: the version was not `expected`; nothing was deleted.
            TooLargeError: the names of the dead letters alone are larger than 10 MiB; nothing was deleted.
        """
        found = self._query_dead_letters(key, fields=_NAMES)
        dead_letters = [{"delete": name} for each in found for name in self._names(each)]
        record = self._record_write(key, tombstone, may_expire=True)
        self._commit(key, tombstone.version, expected, [record, *dead_letters])

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Return instances in the order of their keys, without their bodies; each is billed as one read.

        Keys whose document id would be longer than 1,500 bytes are ordered by their beginnings only.
        """
        start = None if after is None else self.collection.record(after)
        found: list[tuple[Key, Stored]] = []
        while len(found) < limit:
            page = self._page(machine, start, limit - len(found), status)
            # Tombstones are filtered here: a query that excluded their status would need a composite index. So a page
            # may come out short, or empty, before the last one.
            found += [(key_from(each), kept) for each in page if not (kept := stored_from(each)).is_deleted]
            if not page:
                break
            start = page[-1].name
        return found

    def _read_document(self, key: Key, **options: Any) -> tuple[Any, bytes]:
        """Return the document of `key`, if it exists, and the id of the new transaction, if `options` ask for one."""
        request = {"database": self.collection.database, "documents": [self.collection.record(key)], **options}
        document, transaction = None, b""
        for response in self._client.batch_get_documents(request=request, retry=None, timeout=self._timeout):
            self._clock.observe(response.read_time)
            transaction = response.transaction or transaction
            if "found" in response:
                document = response.found
                self._update_times.put(key, version_from(document), document.update_time)
        return document, transaction

    def _commit(self, key: Key, version: int, expected: int, writes: list[FirestoreRequest]) -> None:
        """Apply `writes`, the first of which is the record's, if the version is `expected`.

        Raises:
            ConflictError: it is not.
        """
        self._check_sizes(key, writes)
        request = {"database": self.collection.database, **self._guarded(key, expected, writes)}
        operation = f"committing {key}, version {version}, to {self.collection.name}"
        with translated(operation, races=_LOST_CREATE_STATUSES if expected == 0 else _LOST_UPDATE_STATUSES):
            response = self._client.commit(request=request, retry=None, timeout=self._timeout)
        self._clock.observe(response.commit_time)
        self._update_times.put(key, version, response.write_results[0].update_time)

    def _page(self, machine: str | None, start: str | None, limit: int, status: str | None) -> Sequence[Any]:
        conditions = [] if status is None else [_field_filter("status", "EQUAL", {"string_value": status})]
        if machine is not None:
            first, end = self.collection.bounds(machine)
            conditions += [_field_filter("__name__", "GREATER_THAN_OR_EQUAL", {"reference_value": first})]
            conditions += [_field_filter("__name__", "LESS_THAN", {"reference_value": end})]
        query: dict[str, Any] = {
            "select": {"fields": [{"field_path": field} for field in LISTED_FIELDS]},
            "from_": [{"collection_id": self.collection.name}],
            "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
            "limit": limit,
        }
        if conditions:
            query["where"] = {"composite_filter": {"op": "AND", "filters": conditions}}
        if start is not None:
            query["start_at"] = {"values": [{"reference_value": start}], "before": False}
        return self._run_query(f"listing {self.collection.name}", self.collection.parent, query)

    def _query_dead_letters(self, key: Key, limit: int | None = None, fields: Sequence[str] = ()) -> Sequence[Any]:
        """Return the documents of the dead letters of `key`, oldest first: all of them, or the first `limit`."""
        query: dict[str, Any] = {"from_": [{"collection_id": self.collection.dead_letters}]}
        if fields:
            query["select"] = {"fields": [{"field_path": field} for field in fields]}
        if limit is not None:
            query["limit"] = limit
        return self._run_query(f"reading the dead letters of {key}", self.collection.record(key), query)

    def _run_query(self, operation: str, parent: str, query: FirestoreRequest) -> Sequence[Any]:
        request = {"parent": parent, "structured_query": query}
        with translated(operation, repeatable=True):
            responses = self._client.run_query(request=request, retry=None, timeout=self._timeout)
            return [response.document for response in self._clock.observe_each(responses) if "document" in response]

    def _guarded(self, key: Key, expected: int, writes: list[FirestoreRequest]) -> FirestoreRequest:
        """Return the writes of a Commit request, guarded by a precondition or a transaction."""
        match self._contention:
            case ConcurrencyMode.PRECONDITION:
                record, *others = writes
                return {"writes": [{**record, "current_document": self._precondition(key, expected)}, *others]}
            case ConcurrencyMode.TRANSACTION:
                return {"writes": writes, "transaction": self._transaction(key, expected)}
            case _:
                assert_never(self._contention)

    def _precondition(self, key: Key, expected: int) -> FirestoreRequest:
        if expected == 0:
            return {"exists": False}
        # Firestore has no precondition on a field's value, so the update time of the write stands for the version. It
        # takes a read only if it is not cached.
        if (update_time := self._update_times.get(key, expected)) is None:
            document, _ = self._read_version(key)
            self._check_version(key, document, expected)
            update_time = document.update_time
        return {"update_time": update_time}

    def _transaction(self, key: Key, expected: int) -> bytes:
        """Begin a transaction that holds a lock on the record, in version `expected`. Return its id."""
        document, transaction = self._read_version(key, new_transaction={"read_write": {}})
        try:
            self._check_version(key, document, expected)
        except ConflictError:
            # Without a rollback the lock would block other commits until the transaction times out.
            with translated(f"unlocking {key}", repeatable=True):
                request = {"database": self.collection.database, "transaction": transaction}
                self._client.rollback(request=request, retry=None, timeout=self._timeout)
            raise
        return transaction

    def _read_version(self, key: Key, **options: Any) -> tuple[Any, bytes]:
        with translated(f"reading the version of {key} from {self.collection.name}", repeatable=True):
            return self._read_document(key, mask={"field_paths": ["version"]}, **options)

    def _check_version(self, key: Key, document: Any, expected: int) -> None:
        found = 0 if document is None else version_from(document)
        if found != expected:
            raise ConflictError(f"committing {key}, version {expected + 1}: another commit came first, version {found}")

    def _record_write(self, key: Key, stored: Stored, *, may_expire: bool) -> FirestoreRequest:
        keep = self._keep_finished if may_expire else None
        fields = record_fields(key, stored, None if keep is None else self._clock() + keep)
        return {"update": {"name": self.collection.record(key), "fields": fields}}

    def _dead_letter_writes(
        self, key: Key, version: int, number: int, dead_letter: DeadLetter
    ) -> Sequence[FirestoreRequest]:
        name, fields = self.collection.dead_letter(key, version, number), dead_letter_fields(dead_letter)
        if fits(name, fields):
            return [{"update": {"name": name, "fields": fields}}]
        first, pieces = divided(fields)
        documents = [(name, first), *((self.collection.piece(name, at), piece) for at, piece in enumerate(pieces))]
        return [{"update": {"name": name, "fields": fields}} for name, fields in documents]

    def _names(self, dead_letter: Any) -> Sequence[str]:
        """Return the names of the document of a dead letter, and of those with the pieces of its body."""
        name = str(dead_letter.name)
        return [name, *(self.collection.piece(name, at) for at in range(pieces_of(dead_letter)))]

    def _read_pieces(self, key: Key, names: Sequence[str]) -> Mapping[str, Any]:
        """Return the documents that exist of those with these names."""
        if not names:
            return {}
        request = {"database": self.collection.database, "documents": names}
        with translated(f"reading the dead letters of {key}", repeatable=True):
            responses = self._client.batch_get_documents(request=request, retry=None, timeout=self._timeout)
            found = [each.found for each in self._clock.observe_each(responses) if "found" in each]
        return {str(each.name): each for each in found}

    def _check_sizes(self, key: Key, writes: Sequence[FirestoreRequest]) -> None:
        """Check that Firestore accepts documents and a request of these sizes.

        Raises:
            TooLargeError: it does not.
        """
        size = 0
        for number, write in enumerate(writes):
            if document := write.get("update"):
                what = "a dead letter" if number else f"the record of {key}"
                size += checked_size(document["name"], document["fields"], what)
            else:
                size += len(write["delete"].encode())
        if size > MAX_COMMIT_BYTES:
            raise TooLargeError(f"{key}: {size:,} bytes at once; the limit of Firestore is {MAX_COMMIT_BYTES:,}")


class _UpdateTimes:
    """A cache of the update time of the latest known version of each key."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, version: int) -> Any | None:
        with self._lock:
            known, update_time = self._entries.get(key, (0, None))
            return update_time if known == version else None

    def put(self, key: Key, version: int, update_time: Any) -> None:
        with self._lock:
            self._entries[key] = (version, update_time)
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_CACHED_UPDATE_TIMES:
                self._entries.popitem(last=False)


def _field_filter(field: str, comparison: str, value: FirestoreRequest) -> FirestoreRequest:
    return {"field_filter": {"field": {"field_path": field}, "op": comparison, "value": value}}
