"""Codecs: what is stored is hidden or shrunk, whoever has the keys reads it, and for want of one nothing is lost.

That a backend with a codec keeps all guarantees is tested by the conformance suite, in `tests/conformance`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from settled import (
    CodecError,
    ConflictError,
    IdReusedError,
    Key,
    OutcomeUnknownError,
    Policy,
    RecordError,
    TooLargeError,
    TurnEnd,
)
from settled.durable import (
    Backend,
    CommitConflictError,
    DeadLetter,
    Event,
    Index,
    Message,
    Stored,
    Timer,
    Write,
    encode,
)
from settled.durable.encoded import ENCODED_PREFIX
from settled_local import MemoryBackend
from settled_runtime import (
    Client,
    Codec,
    CodedBackend,
    CompositeBackend,
    Compression,
    Encryption,
    Host,
    Worker,
    connect,
    generate_key,
)
from tests.durable.machines import add, appending

ADA = Key("list", "ada")
SECRET = "4711-0815"
OLD, NEW = bytes(range(64)), bytes(range(64, 128))


@define
class World:
    """A backend in memory whose clock the test moves, seen through several codecs."""

    now: float = 1e6
    plain: Backend = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.plain = MemoryBackend(clock=lambda: self.now)

    def backend(self, codec: Codec | None) -> Backend:
        return self.plain if codec is None else CodedBackend(self.plain, codec)


@pytest.fixture
def world() -> World:
    return World()


def work(backend: Backend, policy: Policy | None = None) -> Mapping[Key, TurnEnd | Exception]:
    """Let a host handle what can be received."""
    with Host([appending()], backend, policy=policy, observers=()) as host:
        return host.handle(backend.queue.receive(100))


def applied(backend: Backend, instance: str = "ada") -> list[int]:
    snapshot = Client(appending(), backend).get(instance)
    assert snapshot is not None
    return list(snapshot.context["applied"])


def message(id: str, text: str = "", key: Key = ADA) -> Message:
    return Message(key, id, encode(Event({"type": "ADD", "n": 1, "text": text})))


class TestWhatIsStored:
    def test_has_no_text_in_clear_but_names_ids_tags_and_headers(self, tmp_path: Path) -> None:
        on_disk = self.filled(tmp_path, Encryption({"a": OLD}))
        assert SECRET not in on_disk
        for visible in ("ada", "bob", "m1", "to-bob", "letter", "opened", "timer1", "t2", "t-17"):
            assert visible in on_disk

    def test_is_all_in_clear_without_a_codec(self, tmp_path: Path) -> None:
        assert self.filled(tmp_path, None).count(SECRET) >= 9

    def filled(self, folder: Path, codec: Codec | None) -> str:
        """Store the secret wherever a text goes, and return all that is on the disk then."""
        backend = connect(f"sqlite:///{folder}/store.db", codec=codec)
        sent = message("m1", SECRET)
        backend.queue.send([Message(sent.key, sent.id, sent.body, {"trace": "t-17"})])
        letter = DeadLetter(message("letter", SECRET), f"reason {SECRET}", 1.0, f"detail {SECRET}")
        stored = Stored(1, f'{{"context":"{SECRET}"}}', Index("active", ("opened",), 1.0))
        timer = Timer("timer1", message("timer", SECRET), 1e12)
        to_bob = message("to-bob", SECRET, Key("list", "bob"))
        backend.finish(Write(ADA, stored, 0, (letter,), sends=(to_bob,), timers=(timer,)))
        backend.store.commit(ADA, Stored(2, SECRET, Index("active")), 1, [letter])
        backend.store.delete(Key("list", "gone"), Stored(1, SECRET, Index("deleted")), 0)
        backend.timers.schedule(Timer("t2", message("timer2", SECRET), 1e12))
        text = "".join(file.read_bytes().decode("latin-1") for file in folder.iterdir())
        backend.close()
        return text

    def test_comes_back_as_it_was(self, world: World) -> None:
        backend = world.backend(Encryption({"a": OLD}))
        letter = DeadLetter(message("letter", SECRET), f"reason {SECRET}", 1.0, f"detail {SECRET}")
        stored = Stored(1, f'{{"context":"{SECRET}"}}', Index("active", ("opened",), 1.0))
        backend.finish(Write(ADA, stored, 0, (letter,), sends=(message("m1", SECRET),)))
        assert backend.store.load(ADA) == stored
        assert [(key, row.index) for key, row in backend.store.scan()] == [(ADA, stored.index)]
        assert backend.store.dead_letters(ADA) == [letter]
        (delivery,) = backend.queue.receive(1)
        assert delivery.message == message("m1", SECRET)

    def test_is_smaller_with_compression(self, world: World) -> None:
        plain, coded = world.plain, world.backend(Compression(over=1000))
        stored = Stored(1, "abcdefgh" * 1000, Index("active"))
        coded.store.commit(ADA, stored, 0)
        small = Stored(1, "abcdefgh" * 100, Index("active"))
        coded.store.commit(Key("list", "bob"), small, 0)
        found = plain.store.load(ADA)
        assert found is not None and len(found.body) < 200
        assert plain.store.load(Key("list", "bob")) == small
        assert coded.store.load(ADA) == stored

    def test_is_compressed_before_it_is_encrypted(self, world: World) -> None:
        stored = Stored(1, SECRET * 1000, Index("active"))
        coded = world.backend(Encryption({"a": OLD}, compress_over=1000))
        coded.store.commit(ADA, stored, 0)
        found = world.plain.store.load(ADA)
        assert found is not None and len(found.body) < 300
        assert SECRET not in found.body
        assert coded.store.load(ADA) == stored
        assert world.backend(Encryption({"a": OLD})).store.load(ADA) == stored

    @pytest.mark.parametrize(
        "text", ["", "\ud800 é \0", f"{ENCODED_PREFIX}x", f"{ENCODED_PREFIX}:x", f"{ENCODED_PREFIX}zlib:x"]
    )
    @pytest.mark.parametrize("codec", [Encryption({"a": OLD}), Compression(), Compression(over=0)], ids=repr)
    def test_may_be_any_text_although_it_looks_encoded(self, codec: Codec, text: str) -> None:
        backend = CodedBackend(MemoryBackend(), codec)
        backend.store.commit(ADA, Stored(1, text, Index("active")), 0)
        assert backend.store.load(ADA) == Stored(1, text, Index("active"))

    def test_keeps_its_room_when_it_is_compressed(self, world: World) -> None:
        # What a record of that size needs to be halted if it grows to its store's limit.
        sizes: list[int] = []
        for text in ("x" * 60_000, "x" * 66_000):
            coded = CodedBackend(MemoryBackend(), Compression())
            client = Client(appending(), coded)
            client.start("ada")
            client.send("ada", add(1))
            work(coded)
            client.send("ada", {"type": "ADD", "n": text})
            work(coded)
            found = coded.below.store.load(ADA)
            assert found is not None and found.body.startswith(ENCODED_PREFIX)
            sizes.append(len(found.body))
        assert sizes[1] - sizes[0] > 4096


class TestLimitsOfSize:
    @pytest.mark.parametrize("over", [None, 0])
    @pytest.mark.parametrize("largest", [1000, 100_000, 2**20])
    def test_the_largest_text_is_stored_in_the_largest_size(self, over: int | None, largest: int) -> None:
        codec = Encryption({"a" * 40: OLD}, compress_over=over)
        longest = codec.largest_text(largest)
        assert longest > largest * 0.7 - 200
        text = "".join(map(chr, secrets.token_bytes(longest // 2)))  # the half of it takes two bytes in UTF-8
        text = text.encode()[:longest].decode(errors="ignore")
        assert len(f"{ENCODED_PREFIX}{codec.encode(text, 'place')}") <= largest

    def test_a_client_refuses_what_would_be_too_large_encoded(self) -> None:
        coded = CodedBackend(MemoryBackend(largest_message=1000), Encryption({"a": OLD}))
        assert 500 < coded.largest_message < 750
        with pytest.raises(TooLargeError):
            Client(appending(), coded).send("ada", add(1, text="x" * 750))
        assert Client(appending(), CodedBackend(coded.below, Compression())).send("ada", add(1, text="x" * 750))


class TestAStoreFromBefore:
    def test_is_read_and_rewritten_as_its_instances_go_on(self, world: World) -> None:
        plain, coded = world.plain, world.backend(Encryption({"a": OLD}))
        client = Client(appending(), plain)
        client.start("ada")
        client.send("ada", add(1))
        client.start("bob")
        work(plain)
        client.send("ada", add(2))
        work(coded)
        assert applied(coded) == [1, 2]
        assert applied(coded, "bob") == []
        found, of_bob = plain.store.load(ADA), plain.store.load(Key("list", "bob"))
        assert found is not None and found.body.startswith(ENCODED_PREFIX)
        assert of_bob is not None and of_bob.body.startswith("{")

    def test_is_refused_if_plain_text_is(self, world: World) -> None:
        plain, coded = world.plain, world.backend(Encryption({"a": OLD}, accepts_plain_text=False))
        Client(appending(), plain).start("ada")
        work(plain)
        Client(appending(), plain).send("ada", add(1))
        with pytest.raises(CodecError, match="not encoded"):
            Client(appending(), coded).get("ada")
        assert isinstance(work(coded)[ADA], CodecError)
        assert applied(plain) == []

    def test_has_messages_that_are_refused_and_not_quoted_if_plain_text_is(self, world: World) -> None:
        coded = world.backend(Encryption({"a": OLD}, accepts_plain_text=False))
        Client(appending(), coded).start("ada")
        work(coded)
        world.plain.queue.send([message("m1", SECRET)])
        error = work(coded)[ADA]
        assert isinstance(error, CodecError) and "m1" in str(error)
        assert SECRET not in str(error) and "kind" not in str(error)
        assert applied(coded) == []


class TestARepetition:
    """The same message, sent a second time, is the same message."""

    def send_twice(self, world: World, first: Codec | None, second: Codec | None, text: str = "") -> list[int]:
        one, other = world.backend(first), world.backend(second)
        Client(appending(), one).start("ada")
        one.queue.send([message("m1", text)])
        other.queue.send([message("m1", text)])
        work(other)
        return applied(other)

    @pytest.mark.parametrize("codec", [Encryption({"a": OLD}), Compression(over=0)], ids=["encryption", "compression"])
    def test_with_the_same_codec(self, world: World, codec: Codec) -> None:
        assert self.send_twice(world, codec, codec) == [1]

    def test_across_a_rotation_of_keys(self, world: World) -> None:
        rotated = Encryption({"c": generate_key(), "new": NEW, "a": OLD})
        assert self.send_twice(world, Encryption({"a": OLD}), rotated) == [1]

    @pytest.mark.parametrize("over", [10, 10_000])
    def test_across_a_change_of_compression(self, world: World, over: int) -> None:
        assert self.send_twice(world, Compression(over=500), Compression(over=over), "x" * 1000) == [1]

    def test_from_before_compression(self, world: World) -> None:
        assert self.send_twice(world, None, Compression(over=500), "x" * 1000) == [1]

    def test_from_before_encryption_is_refused_and_not_sent_in_clear(self, world: World) -> None:
        coded = Encryption({"a": OLD})
        with pytest.raises(IdReusedError):
            self.send_twice(world, None, coded)

    def test_that_the_queue_has_forgotten_is_recognised_by_the_record(self) -> None:
        below = MemoryBackend(remember=1)
        coded, rotated = (
            CodedBackend(below, Encryption({"a": OLD})),
            CodedBackend(below, Encryption({"b": NEW, "a": OLD})),
        )
        Client(appending(), coded).start("ada")
        for id in ("m1", "m2", "m3"):
            coded.queue.send([message(id)])
        work(coded)
        rotated.queue.send([message("m1")])
        work(rotated)
        assert applied(rotated) == [1, 1, 1]

    def test_of_an_id_with_another_body_is_still_refused(self, world: World) -> None:
        coded = world.backend(Encryption({"b": NEW, "a": OLD}))
        coded.queue.send([message("m1", "one")])
        with pytest.raises(IdReusedError):
            coded.queue.send([message("m1", "other")])

    def test_sends_all_messages_of_a_call_or_none(self, world: World) -> None:
        world.backend(Encryption({"a": OLD})).queue.send([message("m1", "one")])
        rotated = world.backend(Encryption({"b": NEW, "a": OLD}))
        with pytest.raises(IdReusedError):
            rotated.queue.send([message("m0"), message("m1", "other")])
        assert [each.message.id for each in rotated.queue.receive(9)] == ["m1"]


class TestWithoutTheKey:
    """Of another key, no key or no codec: the messages stay, the instance is not halted, and the others go on."""

    CODECS: Mapping[str, Codec | None] = {
        "another key of the same name": Encryption({"a": NEW}),
        "a key of another name": Encryption({"b": OLD}),
        "compression only": Compression(),
        "no codec": None,
    }

    @pytest.fixture(params=CODECS.values(), ids=list(CODECS))
    def wrong(self, request: pytest.FixtureRequest) -> Codec | None:
        codec: Codec | None = request.param
        return codec

    def test_a_record_is_not_read(self, world: World, wrong: Codec | None) -> None:
        right = world.backend(Encryption({"a": OLD}))
        Client(appending(), right).start("ada")
        work(right)
        with pytest.raises(CodecError, match=r"list/ada: the record cannot be decoded.*nothing was changed"):
            Client(appending(), world.backend(wrong)).get("ada")

    def test_a_message_waits_however_often_it_is_received(self, world: World, wrong: Codec | None) -> None:
        right, other = world.backend(Encryption({"a": OLD})), world.backend(wrong)
        Client(appending(), world.plain).start("ada")
        work(world.plain)  # so that the record can be read, and only the message cannot
        right.queue.send([message("m1", SECRET)])
        for _ in range(8):
            error = work(other, Policy(receives_before_watch=1, max_attempts=1))[ADA]
            assert isinstance(error, CodecError)
            assert "the message m1 cannot be decoded here" in str(error) and SECRET not in str(error)
            world.now += 60
        assert list(world.plain.store.dead_letters(ADA)) == []
        work(right)
        assert applied(right) == [1]

    def test_the_messages_before_it_are_taken(self, world: World, wrong: Codec | None) -> None:
        right, other = world.backend(Encryption({"a": OLD})), world.backend(wrong)
        Client(appending(), world.plain).start("ada")
        Client(appending(), world.plain).send("ada", add(7))
        right.queue.send([message("m1")])
        assert isinstance(work(other)[ADA], CodecError)
        assert applied(other) == [7]

    def test_other_instances_go_on(self, world: World, wrong: Codec | None) -> None:
        right, other = world.backend(Encryption({"a": OLD})), world.backend(wrong)
        Client(appending(), right).start("ada")
        Client(appending(), other).start("bob")
        with Worker([appending()], other, observers=()).running():
            Client(appending(), other).wait_for("bob", timeout=timedelta(seconds=10))
        world.now += 60
        work(right)
        assert applied(right) == []

    def test_dead_letters_are_listed_and_a_redrive_leaves_them(self, world: World, wrong: Codec | None) -> None:
        right, other = world.backend(Encryption({"a": OLD})), world.backend(wrong)
        Client(appending(), world.plain).start("ada")
        work(world.plain)
        found = world.plain.store.load(ADA)
        assert found is not None
        letter = DeadLetter(message("m1", SECRET), "why", 1.0, SECRET)
        right.store.commit(ADA, Stored(2, found.body, found.index), 1, [letter])
        world.plain.store.commit(ADA, Stored(3, found.body, found.index), 2)  # the record is not what cannot be read
        client = Client(appending(), other)
        (listed,) = client.dead_letters("ada")
        assert listed.message.id == "m1" and listed.at == 1.0
        assert SECRET not in listed.message.body + listed.detail
        client.redrive("ada")
        assert isinstance(work(other)[ADA], CodecError)
        assert right.store.dead_letters(ADA) == [letter]

    def test_an_instance_can_be_deleted_without_a_codec(self, world: World) -> None:
        right = world.backend(Encryption({"a": OLD}))
        Client(appending(), right).start("ada")
        work(right)
        assert Client(appending(), world.plain).delete("ada") is True
        assert Client(appending(), right).get("ada") is None

    def test_a_list_shows_the_instances_that_can_be_read(self, world: World, wrong: Codec | None) -> None:
        right, other = world.backend(Encryption({"a": OLD})), world.backend(wrong)
        Client(appending(), right).start("ada")
        work(right)
        listing: Any = ListsBodies(world.plain)
        for backend in (other, listing if wrong is None else CodedBackend(listing, wrong)):
            assert [key for key, _ in backend.store.scan("list")] == [ADA]


class TestARefusedCommit:
    """A store may tell what it has in place of what was refused."""

    def refused_by(self, world: World, written: Codec | None, read: Codec | None) -> ConflictError:
        write = Write(ADA, Stored(1, SECRET, Index("active")), 0)
        world.backend(written).finish(write)
        store: Any = Telling(world.plain.store)
        below = CompositeBackend(store, world.plain.queue, world.plain.timers)
        coded = below if read is None else CodedBackend(below, read)
        with pytest.raises(ConflictError) as refused:
            coded.finish(write)
        return refused.value

    def test_tells_it_decoded(self, world: World) -> None:
        codec = Encryption({"a": OLD})
        refused = self.refused_by(world, codec, codec)
        assert isinstance(refused, CommitConflictError)
        assert refused.stored.body == SECRET

    def test_tells_nothing_if_it_cannot_be_decoded(self, world: World) -> None:
        refused = self.refused_by(world, Encryption({"a": OLD}), Encryption({"b": NEW}))
        assert not isinstance(refused, CommitConflictError)


@frozen
class Telling:
    """A store whose refusals tell the record."""

    store: Any

    def commit(self, key: Key, *rest: Any) -> None:
        try:
            self.store.commit(key, *rest)
        except ConflictError as error:
            raise CommitConflictError(str(error), self.store.load(key), 0.0) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class TestAText:
    def test_that_was_moved_to_another_instance_or_message_is_not_decoded(self, world: World) -> None:
        below = world.plain
        coded = CodedBackend(below, Encryption({"a": OLD}))
        coded.store.commit(ADA, Stored(1, "{}", Index("active")), 0)
        moved = below.store.load(ADA)
        assert moved is not None
        below.store.commit(Key("list", "bob"), moved, 0)
        with pytest.raises(CodecError, match="moved"):
            coded.store.load(Key("list", "bob"))
        coded.queue.send([message("m1")])
        (delivery,) = below.queue.receive(1)
        below.queue.send([Message(Key("list", "bob"), "m1", delivery.message.body)])
        below.queue.send([Message(ADA, "m2", delivery.message.body)])
        world.now += 60
        found = {(each.message.key.instance, each.message.id): each.message.body for each in coded.queue.receive(9)}
        assert found.pop(("ada", "m1")).startswith("{")
        assert found == dict.fromkeys([("bob", "m1"), ("ada", "m2")], delivery.message.body)

    @pytest.mark.parametrize("at", [0, 5, 20, 40, -1])
    def test_that_was_changed_is_not_decoded(self, at: int) -> None:
        codec = Encryption({"a": OLD}, compress_over=10)
        encoded = codec.encode("x" * 100, "place")
        changed = list(encoded)
        changed[at] = "A" if changed[at] != "A" else "B"
        with pytest.raises(CodecError):
            codec.decode("".join(changed), "place")

    def test_is_not_decoded_by_another_method_or_key_than_it_names(self) -> None:
        codec = Encryption({"a": OLD, "b": OLD}, compress_over=10)
        encoded = codec.encode("x" * 100, "place")
        for changed in (encoded.removeprefix("zlib+"), encoded.replace(":a:", ":b:")):
            assert changed != encoded
            with pytest.raises(CodecError, match="does not decrypt it"):
                codec.decode(changed, "place")

    @pytest.mark.parametrize("text", ["zlib:", "zlib:AAAA", "zlib:é", "zlib:eJwDAAAAAAE", "other:x", ""])
    def test_that_compression_has_not_written_is_not_decoded(self, text: str) -> None:
        with pytest.raises(CodecError):
            Compression().decode(text, "place")

    def test_that_was_cut_is_not_decompressed(self) -> None:
        encoded = Compression(over=0).encode("abcdefgh" * 100, "place")
        assert encoded is not None
        with pytest.raises(CodecError, match="damaged"):
            Compression().decode(encoded[:-8], "place")


class TestKeys:
    @pytest.mark.parametrize(
        ("keys", "why"),
        [({}, "there is none"), ({"a": b"short"}, "5 bytes"), ({"": OLD}, "a name"), ({"a:b": OLD}, "a name")],
        ids=["none", "short", "without a name", "with a colon"],
    )
    def test_are_checked(self, keys: Mapping[str, bytes], why: str) -> None:
        with pytest.raises(ValueError, match=why):
            Encryption(keys)

    def test_are_not_shown(self) -> None:
        assert "2026" in repr(Encryption({"2026": OLD}))
        assert repr(OLD) not in repr(Encryption({"2026": OLD}))

    def test_are_used_by_many_threads_at_once(self) -> None:
        codec = Encryption({"a": OLD}, compress_over=100)

        def comes_back(number: int) -> bool:
            text = f"{number}" * 50
            return codec.decode(codec.encode(text, f"place {number}"), f"place {number}") == text

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(comes_back, range(1000)))

    @pytest.mark.parametrize("size", [32, 48, 64])
    def test_of_each_size_encrypt_and_decrypt(self, size: int) -> None:
        codec = Encryption({"a": bytes(range(size))})
        assert codec.decode(codec.encode("text", "place"), "place") == "text"
        assert len(generate_key()) == 64


class ListsBodies:
    """Passes everything on, and lists instances with their bodies, as a store may do."""

    def __init__(self, below: Backend) -> None:
        self.below = below
        self.store = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def scan(self, *arguments: Any) -> Any:
        return [(key, self.below.store.load(key)) for key, _ in self.below.store.scan(*arguments)]


class KeepsDeliveries:
    """Passes everything on, and keeps the deliveries that it is given back."""

    def __init__(self, below: Any) -> None:
        self.below, self.given = below, list[Any]()
        self.queue = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def receive(self, *arguments: Any) -> Any:
        return self.below.queue.receive(*arguments)

    def take(self, deliveries: Any, *_: Any) -> None:
        self.given += deliveries

    ack = release = extend = withdraw = take

    def finish(self, write: Write) -> None:
        self.given += [*write.acks, write.holder]


def test_the_backend_is_given_back_the_deliveries_that_it_has_made() -> None:
    # With the bodies that it has delivered: some find what they remember of a message by its digest.
    below, codec = MemoryBackend(), Encryption({"b": NEW, "a": OLD})
    CodedBackend(below, Encryption({"a": OLD})).queue.send([message("m1")])
    keeping: Any = KeepsDeliveries(below)
    coded = CodedBackend(keeping, codec)
    (delivery,) = coded.queue.receive(1)
    coded.queue.ack([delivery])
    coded.queue.release([delivery])
    coded.queue.extend([delivery], 1.0)
    coded.queue.withdraw([delivery])
    coded.finish(Write(ADA, acks=(delivery,), holder=delivery))
    assert len(keeping.given) == 6
    assert all(each.message.body.startswith(f"{ENCODED_PREFIX}aes-siv:a:") for each in keeping.given)


@frozen
class LosesAnAnswer:
    """Passes everything on, but the answer to the first commit is lost."""

    below: Backend
    lost: list[Write] = field(factory=list[Write])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def finish(self, write: Write) -> None:
        self.below.finish(write)
        if not self.lost:
            self.lost.append(write)
            raise OutcomeUnknownError("lost")


def test_a_commit_whose_answer_was_lost_is_recognised_as_the_turns_own() -> None:
    losing: Any = LosesAnAnswer(MemoryBackend())
    coded = CodedBackend(losing, Encryption({"a": OLD}))
    Client(appending(), coded).start("ada")
    assert work(coded) == {ADA: TurnEnd.DONE}
    assert len(losing.lost) == 1


def test_a_codec_error_is_a_record_error() -> None:
    assert issubclass(CodecError, RecordError)
