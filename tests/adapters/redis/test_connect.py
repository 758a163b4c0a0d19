"""Opening a URL: its parts, and one clear line about an unsuitable server before any work is taken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote

import pytest

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    RecordError,
    UnavailableError,
)
from settled_redis import examine_redis, open_redis
from settled_redis.backend import RedisBackend
from settled_redis.url import Address, parse
from settled_runtime import connect
from tests.adapters.local.fixtures import ADA, message
from tests.adapters.redis.conftest import Opener
from tests.emulators.redis_servers import (
    ALWAYS,
    IN_MEMORY,
    UNSYNCED,
    Process,
    old_binary,
    redis_binary,
    running,
    running_cluster,
)

ENOUGH = ("+@read", "+@write", "+@scripting", "+@blocking", "+info", "+time", "+wait", "+ping")
"""The permissions that a user needs on a single server."""


class TestAUrl:
    def test_has_an_address_and_a_login(self) -> None:
        parsed = parse("valkeys://ada:p%40ss@example.org:7000/3?lease=5&prefix=shop:&largest_message=2048")
        assert parsed.address == Address("example.org", 7000)
        assert (parsed.login.username, parsed.login.password, parsed.login.database) == ("ada", "p@ss", 3)
        assert parsed.login.tls
        assert parsed.options == {"lease": timedelta(seconds=5), "prefix": "shop:", "largest_message": 2048}

    def test_may_have_an_ipv6_address(self) -> None:
        assert str(parse("redis://[::1]:7000").address) == "[::1]:7000"

    def test_has_defaults(self) -> None:
        parsed = parse("redis://localhost")
        assert parsed.address == Address("localhost", 6379)
        assert (parsed.login.username, parsed.login.password, parsed.login.database) == (None, None, 0)
        assert not parsed.login.tls
        assert parsed.options == {}

    @pytest.mark.parametrize(
        ("url", "remedy"),
        [
            (
                "redis://localhost?leese=5",
                "no option 'leese'; known are ca, certificate, check_durability, largest_message, lease,",
            ),
            ("redis://localhost?lease=soon", "lease=soon: expected a number of seconds"),
            ("redis://localhost?timeout=1e12", "below 1,000,000,000"),
            ("redis://localhost?remember=few", "remember=few: expected a whole number from 1"),
            ("redis://localhost?ca=/no/such/file", "ca=/no/such/file: there is no such file"),
            ("redis://localhost?lease=-1", "above 0"),
            ("redis://localhost?remember=0", "from 1"),
            ("redis://localhost?largest_message=0", "expected a number of bytes from 1024"),
            ("redis://localhost?replicas=-1", "from 0"),
            ("redis://localhost?check_durability=perhaps", "check_durability=perhaps: expected yes or no"),
            ("redis://localhost?prefix={a}", "without braces"),
            ("redis://localhost:port", "expected redis://HOST:PORT"),
            ("redis://localhost/first", "'first' is no database"),
            ("redis://", "expected redis://HOST:PORT"),
            ("redis:localhost", "expected redis://HOST:PORT"),
            ("redis://[::1", "expected redis://HOST:PORT"),
            ("redis://localhost/0#1", "expected redis://HOST:PORT"),
            ("http://localhost", "expected redis://HOST:PORT"),
        ],
    )
    def test_that_is_malformed_fails(self, url: str, remedy: str) -> None:
        with pytest.raises(BackendConfigError) as refused:
            open_redis(url)
        assert remedy in str(refused.value)

    @pytest.mark.parametrize("mark", ["", *"/?#:@["])
    def test_never_shows_its_password(self, mark: str) -> None:
        """Not even in a malformed URL."""
        for scheme, user in (("redis", "ada"), ("redis", ""), ("reddis", "ada")):
            with pytest.raises(BackendConfigError) as refused:
                connect(f"{scheme}://{user}:xyzzy{mark}plugh@localhost?leese=5")
            assert "xyzzy" not in str(refused.value)
            assert "plugh" not in str(refused.value)

    def test_is_read_without_showing_its_password(self) -> None:
        assert "secret" not in repr(parse("redis://ada:secret@localhost"))

    def test_opens_the_backend_that_its_scheme_names(self, redis: Process, prefix: str) -> None:
        for scheme in ("redis", "valkey"):
            with closing(connect(f"{scheme}{redis.url().removeprefix('redis')}?prefix=entry:")) as backend:
                assert isinstance(backend, RedisBackend)
        assert {"redis", "rediss", "valkey", "valkeys"} <= entry_points(group="settled.backends").names
        assert {"redis", "rediss", "valkey", "valkeys"} <= entry_points(group="settled.doctors").names

    def test_takes_precedence_over_arguments(self, opener: Callable[[Process], Opener], redis: Process) -> None:
        with closing(RedisBackend.open(redis.url("?lease=0.5&prefix=word:"), lease=timedelta(seconds=9))) as backend:
            assert backend.lease == timedelta(seconds=0.5)


class TestAServer:
    def test_that_does_not_run(self) -> None:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: cannot be reached"):
            open_redis("redis://127.0.0.1:1")

    def test_that_wants_a_password(self, tmp_path: Path) -> None:
        with running(redis_binary(), tmp_path, *UNSYNCED) as server:
            server.set("requirepass", "right")
            for url in (server.url(), server.url().replace("//", "//:wrong@")):
                with pytest.raises(AccessDeniedError, match="refused the user or the password") as refused:
                    open_redis(url)
                assert "wrong" not in str(refused.value)
            open_redis(server.url().replace("//", "//:right@")).close()

    def test_that_lets_this_user_do_too_little(self, redis: Process) -> None:
        redis.client.acl_setuser(
            "reader", enabled=True, passwords=["+r"], categories=["+@read"], commands=["+info", "+config|get"]
        )
        with pytest.raises(AccessDeniedError, match="this user may not do that"):
            open_redis(redis.url().replace("//", "//reader:r@"))

    def test_that_lets_this_user_do_enough(self, redis: Process) -> None:
        """As documented in ``docs/redis.md``."""
        redis.client.execute_command("ACL", "SETUSER", "settled", "on", ">s", "~settled:*", *ENOUGH, "+config|get")
        with closing(open_redis(redis.url().replace("//", "//settled:s@"))) as backend:
            backend.queue.send([message(ADA, "a")])
            backend.queue.ack(backend.queue.receive(1, wait=1))

    def test_that_is_too_old(self, tmp_path: Path) -> None:
        with running(old_binary(), tmp_path, *IN_MEMORY) as server:
            with pytest.raises(BackendConfigError, match=r"is Redis 6\.2\.5: settled needs 7\.0 or newer, or Valkey"):
                open_redis(server.url())
            assert server.client.dbsize() == 0

    def test_that_has_no_such_database(self, redis: Process) -> None:
        with pytest.raises(BackendConfigError, match="no such database"):
            open_redis(redis.url().removesuffix("0") + "99")

    def test_of_a_cluster_has_one_database(self, cluster: Process) -> None:
        with pytest.raises(BackendConfigError, match="only the database 0"):
            open_redis(cluster.url().removesuffix("0") + "3")


class TestAServerThatLosesAcknowledgedWrites:
    """D1: without an error to any sender."""

    @pytest.mark.parametrize(
        ("setting", "value", "reason"),
        [
            (
                "appendonly",
                "no",
                "everything that it holds is lost when the server stops. Set appendonly yes. Or, if",
            ),
            ("maxmemory-policy", "allkeys-lru", "evicted once it has a maxmemory. Set maxmemory-policy noeviction. Or"),
            ("maxmemory-policy", "allkeys-random", "instances and messages are evicted"),
        ],
    )
    def test_is_refused(self, tmp_path: Path, setting: str, value: str, reason: str) -> None:
        with running(redis_binary(), tmp_path, *ALWAYS) as server:
            open_redis(server.url()).close()
            server.set(setting, value)
            with pytest.raises(BackendConfigError) as refused:
                open_redis(server.url())
            assert f"{setting} {value}: " in str(refused.value)
            assert reason in str(refused.value)
            assert "add check_durability=no to the URL" in str(refused.value)
            with closing(open_redis(server.url("?check_durability=no"))) as backend:
                backend.queue.send([message(ADA, "a")])

    @pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
    def test_is_not_one_that_evicts_nothing_of_settled_s(self, tmp_path: Path, policy: str) -> None:
        with running(redis_binary(), tmp_path, *ALWAYS) as server:
            server.set("maxmemory-policy", policy)
            open_redis(server.url()).close()

    def test_may_be_one_of_a_cluster(self, tmp_path: Path) -> None:
        with running_cluster(redis_binary(), tmp_path) as servers:
            open_redis(servers[0].url()).close()
            servers[2].set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(BackendConfigError, match=f":{servers[2].port}: maxmemory-policy allkeys-lru"):
                open_redis(servers[0].url())

    def test_cannot_be_told_if_the_settings_may_not_be_read(self, redis: Process) -> None:
        redis.client.execute_command("ACL", "SETUSER", "settled", "on", ">s", "~settled:*", *ENOUGH, "-config")
        url = redis.url().replace("//", "//settled:s@")
        with pytest.warns(RuntimeWarning, match="may not read its settings: it is unknown whether its acknowledged"):
            open_redis(url).close()
        open_redis(f"{url}?check_durability=no").close()  # without a warning, which would be an error here


class TestAKeySpace:
    def test_of_another_application_is_left_as_it_is(self, redis: Process, prefix: str) -> None:
        for value in ("something", '{"settled": "x"}', "[]", '{"settled": 4, "partitions": 1}'):
            redis.client.set(f"{prefix}format", value)
            with pytest.raises(RecordError, match="of another application: use another prefix"):
                RedisBackend.open(redis.url(), prefix=prefix)
        redis.client.delete(f"{prefix}format")
        redis.client.lpush(f"{prefix}format", "a list")
        with pytest.raises(RecordError, match="not as settled made it"):
            RedisBackend.open(redis.url(), prefix=prefix)

    def test_without_a_format_is_left_as_it_is(self, redis: Process, prefix: str) -> None:
        redis.client.set(f"{prefix}{{0}}:ready_machines", "something")
        with pytest.raises(RecordError, match="but no format key"):
            RedisBackend.open(redis.url(), prefix=prefix)
        assert redis.client.get(f"{prefix}{{0}}:ready_machines") == b"something"

    def test_of_a_newer_settled_is_left_as_it_is(self, redis: Process, prefix: str) -> None:
        redis.client.set(f"{prefix}format", '{"settled": 6, "partitions": 1, "more": true}')
        with pytest.raises(RecordError, match=r"of a newer settled \(format 6, this one reads 3 to 5\): update"):
            RedisBackend.open(redis.url(), prefix=prefix)

    def test_of_a_settled_that_is_too_old_is_left_as_it_is(self, redis: Process, prefix: str) -> None:
        redis.client.set(f"{prefix}format", '{"settled": 2, "partitions": 1}')
        with pytest.raises(
            RecordError, match=r"that is too old \(format 2, this one reads 3 to 5\): use another prefix"
        ):
            RedisBackend.open(redis.url(), prefix=prefix)
        with pytest.raises(RecordError, match="that is too old"):
            examine_redis(redis.url(f"?prefix={quote(prefix)}"))
        assert redis.client.get(f"{prefix}format") == b'{"settled": 2, "partitions": 1}'

    def test_keeps_its_partitions(self, redis: Process, prefix: str) -> None:
        with closing(RedisBackend.open(redis.url(), prefix=prefix, partitions=4)) as backend:
            backend.queue.send([message(ADA, "a")])
        with closing(RedisBackend.open(redis.url(), prefix=prefix)) as backend:
            assert len(backend.queue.receive(1)) == 1
        with pytest.raises(BackendConfigError, match="divided into 4 partitions: use partitions=4, or omit the option"):
            RedisBackend.open(redis.url(), prefix=prefix, partitions=1)

    def test_is_all_that_is_touched(self, redis: Process, opener: Callable[[Process], Opener], prefix: str) -> None:
        before = set(redis.client.scan_iter())
        backend = opener(redis)()
        backend.queue.send([message(ADA, "a")])
        backend.queue.ack(backend.queue.receive(1))
        added = set(redis.client.scan_iter()) - before
        assert added
        assert all(name.startswith(prefix.encode()) for name in added)


class TestTheDoctor:
    def test_finds_nothing_with_safe_settings(self, tmp_path: Path) -> None:
        with running(redis_binary(), tmp_path, *ALWAYS) as server:
            assert examine_redis(server.url()) == []
            assert server.client.dbsize() == 0

    @pytest.mark.parametrize(
        ("setting", "value", "consequence"),
        [
            ("appendonly", "no", "everything that it holds is lost when the server stops"),
            ("appendfsync", "everysec", "writes acknowledged in the last second are lost"),
            ("appendfsync", "no", "about the last half minute"),
            ("no-appendfsync-on-rewrite", "yes", "while it rewrites its file"),
            ("maxmemory-policy", "allkeys-lru", "instances and messages are evicted once it has a maxmemory"),
        ],
    )
    def test_finds_settings_that_lose_data(self, tmp_path: Path, setting: str, value: str, consequence: str) -> None:
        with running(redis_binary(), tmp_path, *ALWAYS) as server:
            server.set(setting, value)
            (problem,) = examine_redis(server.url())
            assert f"{setting} {value}" in problem.problem
            assert consequence in problem.consequence

    def test_considers_snapshots_and_maxmemory(self, tmp_path: Path) -> None:
        with running(redis_binary(), tmp_path, *IN_MEMORY) as server:
            server.set("save", "60 1")
            server.set("maxmemory", "100mb")
            server.set("maxmemory-policy", "allkeys-lfu")
            disk, memory = examine_redis(server.url())
            assert "since the last snapshot" in disk.consequence
            assert memory.consequence.endswith("when memory runs out")

    def test_counts_the_replicas_that_writes_wait_for(self, tmp_path: Path) -> None:
        with running(redis_binary(), tmp_path, *ALWAYS) as server:
            (problem,) = examine_redis(server.url("?replicas=2"))
            assert "has 0 replicas, and writes wait for 2" in problem.problem

    def test_asks_every_server_of_a_cluster(self, cluster: Process) -> None:
        assert [problem.problem.partition(": ")[2] for problem in examine_redis(cluster.url())] == [
            "appendfsync no"
        ] * 3

    def test_says_that_it_may_not_read_the_settings(self, redis: Process) -> None:
        redis.client.execute_command(*["ACL", "SETUSER", "blind", "on", ">b", "~*", "+@read", "+info"])
        (problem,) = examine_redis(redis.url().replace("//", "//blind:b@"))
        assert "may not read its settings" in problem.problem

    def test_fails_on_a_key_space_that_cannot_be_used(self, redis: Process, prefix: str) -> None:
        redis.client.set(f"{prefix}format", "something")
        with pytest.raises(RecordError):
            examine_redis(redis.url(f"?prefix={quote(prefix)}"))
