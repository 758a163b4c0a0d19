"""Call those in this process who watch a record that was committed: the servers tell, by their tracking of reads.

With ``CLIENT TRACKING``, a server remembers which keys a connection has read, and tells when one of them is changed,
once for each read. It keeps nothing for records that nobody watches, and a commit costs no more than before. Two
connections to each server are needed: one reads the records, the other one is told, and a thread of its own reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import ResponseError

from settled.errors import BackendClosedError, SettledError, UnavailableError
from settled.key import Key
from settled_redis.connection import RawConnection, RedisCommand, ServerConnection, packed
from settled_redis.errors import CONNECTION_ERRORS, translated
from settled_redis.keyspace import KeySpace
from settled_redis.topology import Topology
from settled_runtime.watchers import Watchers

CHANNEL = b"__redis__:invalidate"
"""The channel on which a server tells of changes."""

LOOK_INTERVAL = 1.0
"""Seconds after which a thread that was told nothing looks whether anybody still watches, and whether all is well."""

RECONNECT_INTERVAL = 0.5
"""Seconds between two attempts to reach the servers again."""


class RedisWatchers(Watchers):
    """The watchers of the records of a key space."""

    def __init__(self, servers: Topology, space: KeySpace) -> None:
        super().__init__()
        self._servers = servers
        self._space = space
        self._trackers: dict[ServerConnection, _Tracker] = {}
        self._trackers_lock = threading.Lock()
        self._closed = threading.Event()

    @contextmanager
    def added(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        with super().added(key, changed):
            self.track(key)
            yield

    def track(self, key: Key) -> None:
        """Have the server of `key` tell of its next change.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError, BackendClosedError: it does not.
        """
        partition = self._space.of_key(key)
        read = [b"GETRANGE", partition.instance(key).record, b"0", b"0"]
        try:
            self._tracker(self._servers.owner(partition.slot)).track(key, read)
        except UnavailableError:
            with suppress(UnavailableError):  # the question is whether another server has the slot now
                self._servers.ask(partition.slot, [read], changes=False)
            self._tracker(self._servers.owner(partition.slot)).track(key, read)

    def changed(self, keys: Iterable[Key]) -> None:
        """Track `keys` again, those that are still watched, and call their functions."""
        for key in keys:
            if key in self.by_key:
                # First: a commit between the two would be told of by nobody.
                with suppress(SettledError):  # whoever waits reads the record now and then, and gets the error
                    self.track(key)
                self.notify([key])

    def lost(self, tracker: _Tracker) -> None:
        """Track what is watched anew: `tracker` has lost its connections."""
        self._forget(tracker)
        while self.by_key and not self._closed.wait(RECONNECT_INTERVAL):
            try:
                for key in list(self.by_key):
                    self.track(key)
            except SettledError:
                continue
            break
        self.notify(list(self.by_key))

    def is_needed(self, tracker: _Tracker) -> bool:
        """Return whether anybody watches; forget `tracker` if not."""
        with self._trackers_lock:
            if self.by_key and not self._closed.is_set():
                return True
            self._trackers.pop(tracker.server, None)
            return False

    def close(self) -> None:
        """Let the threads end, within `LOOK_INTERVAL`."""
        self._closed.set()

    def _forget(self, tracker: _Tracker) -> None:
        with self._trackers_lock:
            if self._trackers.get(tracker.server) is tracker:
                del self._trackers[tracker.server]

    def _tracker(self, server: ServerConnection) -> _Tracker:
        with self._trackers_lock:
            if self._closed.is_set():
                raise BackendClosedError(f"{server.address}: this backend was closed")
            if server not in self._trackers or self._trackers[server].is_broken:
                self._trackers[server] = _Tracker(server, self)
            return self._trackers[server]


class _Tracker(threading.Thread):
    """The connections to one server, and the thread that is told of changes."""

    def __init__(self, server: ServerConnection, watchers: RedisWatchers) -> None:
        super().__init__(name="settled-redis-changes", daemon=True)
        self.server = server
        self._watchers = watchers
        self._keys: dict[bytes, Key] = {}
        self.is_broken = False
        self._lock = threading.Lock()
        self._reader = server.open_alone()
        self._listener = server.open_alone()
        try:
            id = self._answer(self._listener, [b"CLIENT", b"ID"])
            self._answer(self._listener, [b"SUBSCRIBE", CHANNEL])
            self._answer(self._reader, [b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % id])
        except BaseException:
            self._disconnect()
            raise
        self.start()

    def track(self, key: Key, read: RedisCommand) -> None:
        """Read the record of `key` by the command `read`."""
        with self._lock:
            self._keys[bytes(read[1])] = key
            self._answer(self._reader, read)

    def run(self) -> None:
        try:
            while self._listen():
                pass
        except (*CONNECTION_ERRORS, ResponseError, SettledError):
            self.is_broken = True
            self._watchers.lost(self)
        finally:
            self._disconnect()

    def _listen(self) -> bool:
        """Pass on what the server tells, or see whether all is well. Return whether to go on."""
        if self._listener.can_read(LOOK_INTERVAL):
            _, _, names = self._listener.read_response()
            self._watchers.changed(self._taken(names))
            return True
        if not self._watchers.is_needed(self):
            return False
        with self._lock:  # a server forgets what a connection has read that is gone, and says nothing
            self._answer(self._reader, [b"PING"])
        return True

    def _taken(self, names: Iterable[bytes] | None) -> Iterable[Key]:
        """Remove and return the keys whose records have these `names`; None stands for all, in an emptied database."""
        with self._lock:
            found = list(self._keys) if names is None else [name for name in names if name in self._keys]
            return [self._keys.pop(name) for name in found]

    def _answer(self, connection: RawConnection, command: RedisCommand) -> Any:
        if self.is_broken:  # redis-py would connect anew, and nobody would be told
            raise UnavailableError(f"{self.server.address}: the connection broke")
        try:
            connection.send_packed_command([packed(command)], check_health=False)
            return connection.read_response()
        except CONNECTION_ERRORS as error:
            self.is_broken = True
            raise UnavailableError(f"{self.server.address}: the connection broke ({error})") from error
        except ResponseError as error:
            raise translated(error, str(self.server.address)) from error

    def _disconnect(self) -> None:
        self._reader.disconnect()
        self._listener.disconnect()
