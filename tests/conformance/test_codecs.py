"""Backends with a codec keep every guarantee that they keep without one; a faulty codec is found by the suite."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence

import pytest

from settled_conformance import GUARANTEES, Harness, Session, VerdictStatus
from settled_conformance.harnesses.coded import CodedHarness
from settled_conformance.harnesses.local import memory, mixed, sqlite
from settled_runtime import Codec, Compression, Encryption

KEY = bytes(range(64))


def encryption() -> Codec:
    return Encryption({"old": KEY})


def compressed_encryption() -> Codec:
    return Encryption({"old": KEY}, compress_over=200)


def compression() -> Codec:
    return Compression(over=0)


CODED: Mapping[str, tuple[Callable[[], Harness], Callable[[], Codec]]] = {
    "memory-encryption": (memory, encryption),
    "memory-compression": (memory, compression),
    "sqlite-encryption": (sqlite, compressed_encryption),
    "separate-encryption": (mixed, encryption),
}


@pytest.mark.parametrize("name", CODED)
def test_a_backend_with_a_codec_passes_every_guarantee(name: str) -> None:
    make_harness, make_codec = CODED[name]
    harness = make_harness()
    verdicts = list(Session(CodedHarness(harness, make_codec), budget=4.0).verdicts())
    assert len(verdicts) == len(GUARANTEES)
    assert [f"{each.guarantee.id}: {each.status} {each.detail}" for each in verdicts if not each.is_fine] == []


class Plain:
    """Keeps every text as it is. The faulty codecs below each break something of it."""

    accepts_plain_text = True

    def largest_text(self, largest: int) -> int:
        return largest - 64

    def encode(self, text: str, place: str) -> str | None:
        return f"plain:{text}"

    def encode_as_before(self, text: str, place: str) -> Sequence[str | None]:
        return ()

    def decode(self, encoded: str, place: str) -> str:
        return encoded.removeprefix("plain:")


class RandomNonce(Plain):
    """Encodes the same text differently each time, so that no repetition is recognised."""

    def encode(self, text: str, place: str) -> str | None:
        return f"{secrets.token_hex(4)}{text}"

    def decode(self, encoded: str, place: str) -> str:
        return encoded[8:]


class AsciiOnly(Plain):
    """Encodes as ASCII, with question marks for what that does not have."""

    def encode(self, text: str, place: str) -> str | None:
        return text.encode("ascii", "replace").decode()


class WritesNumbersAnew(Plain):
    """Decodes JSON as JSON, with other numbers."""

    def decode(self, encoded: str, place: str) -> str:
        text = super().decode(encoded, place)
        try:
            return json.dumps(json.loads(text, parse_int=float))
        except ValueError:
            return text


class CutsLongTexts(Plain):
    """Keeps the first 64 KiB of a text."""

    def encode(self, text: str, place: str) -> str | None:
        return f"plain:{text[: 2**16]}"


class SameForAll(Plain):
    """Encodes short texts as their length, and remembers them: other texts of that length come back."""

    texts: dict[str, str] = {}  # noqa: RUF012 (of all handles: of the class, on purpose)

    def encode(self, text: str, place: str) -> str | None:
        self.texts[str(len(text))] = text
        return str(len(text))

    def decode(self, encoded: str, place: str) -> str:
        return self.texts[encoded]


class KeyOfItsOwn(Plain):
    """Decodes only what the same handle has encoded, as if each process had made a key of its own."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(4)

    def encode(self, text: str, place: str) -> str | None:
        return f"{self.key}{text}"

    def decode(self, encoded: str, place: str) -> str:
        return encoded[8:] if encoded.startswith(self.key) else "?"


FAULTY_CODECS: Mapping[type[Plain], str] = {
    RandomNonce: "F7",
    AsciiOnly: "D6",
    WritesNumbersAnew: "D6",
    CutsLongTexts: "D6",
    SameForAll: "D6",
    KeyOfItsOwn: "D6",
}
"""Each with the guarantee that must find it."""


def test_the_codec_that_the_faulty_ones_are_made_of_is_correct() -> None:
    found = [each for each in Session(CodedHarness(memory(), Plain), budget=2.0).verdicts() if not each.is_fine]
    assert [f"{each.guarantee.id}: {each.detail}" for each in found] == []


@pytest.mark.parametrize(
    ("faulty", "guarantee"), FAULTY_CODECS.items(), ids=lambda each: getattr(each, "__name__", each)
)
def test_a_faulty_codec_is_detected_under_its_guarantee(faulty: type[Plain], guarantee: str) -> None:
    session = Session(CodedHarness(memory(), faulty), stop_at=guarantee)
    assert session.verdict(guarantee).status is VerdictStatus.FAIL
