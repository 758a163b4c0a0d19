"""Encryption: a codec that keeps what a backend stores from everyone who does not have the keys.

AES-SIV (RFC 5297) encrypts and authenticates, and is deterministic: at one place the same text gives the same
ciphertext. A queue needs that to recognise a repetition, and it is safe without a nonce. It tells whoever reads the
store which of two texts of the same message, or of the same record, are equal, and how long each is; nothing else.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from attrs import Factory, field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from settled import CodecError
from settled_runtime.compression import compress, decompress

KEY_SIZES = (32, 48, 64)
"""How many bytes a key may have: two keys of AES-128, AES-192 or AES-256."""

_METHOD, _COMPRESSED_METHOD = "aes-siv", "zlib+aes-siv"

_LARGEST_HEADER = 128
"""More bytes than precede the base64 of a text: the mark, the method and the name of the key."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def generate_key() -> bytes:
    """Return a new random key, of 64 bytes."""
    return AESSIV.generate_key(512)


def _checked(keys: Mapping[str, bytes]) -> Mapping[str, bytes]:
    if not keys:
        raise ValueError("keys: there is none. Make one with generate_key")
    for name, key in keys.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"keys: {name!r}: a name has 1 to 40 letters, digits, '_', '.' and '-'")
        if len(key) not in KEY_SIZES:
            raise ValueError(f"keys: {name}: it has {len(key)} bytes, not 32, 48 or 64")
    return dict(keys)  # a copy, so that nobody changes it


def _ciphers(codec: Encryption) -> Mapping[str, AESSIV]:
    return {name: AESSIV(key) for name, key in codec.keys.items()}


@frozen
class Encryption:
    """A `Codec` that encrypts with the first of its keys, and decrypts with any of them.

    To rotate a key, first give every process the new key after the old one; then, everywhere, put it in front. The old
    one is needed for as long as something that it has encrypted is stored: records that have not changed since,
    messages and timers that wait, dead letters.

    Each text is bound to its place, so it cannot be moved to another instance or message. That an older record of an
    instance is put back in its place is not noticed.

    Attributes:
        keys: the keys by name, the one to encrypt with first. Each has 32, 48 or 64 random bytes, see `generate_key`.
            A name has 1 to 40 letters, digits, ``_``, ``.`` and ``-``; it is stored in clear with what the key has
            encrypted.
        compress_over: from how many characters on a text is compressed before it is encrypted; None for never. What is
            compressed tells more by its length: do not compress where others choose a part of the texts.
        accepts_plain_text: whether texts are read that are not encrypted, such as those of a store from before. Once
            they are all rewritten, turn it off: then nobody without a key can make instances take what he has written.
    """

    keys: Mapping[str, bytes] = field(converter=_checked, repr=lambda keys: repr(list(keys)))
    compress_over: int | None = None
    accepts_plain_text: bool = True
    _ciphers: Mapping[str, AESSIV] = field(init=False, repr=False, eq=False, default=Factory(_ciphers, takes_self=True))

    def largest_text(self, largest: int) -> int:
        # Base64 makes four bytes of three; the tag has 16 bytes; zlib adds 5 to each 16 KiB that it cannot compress.
        return max(0, (largest - _LARGEST_HEADER) * 3 // 4 - 64 - largest // 1024)

    def encode(self, text: str, place: str) -> str:
        return self._encrypted(text, place, next(iter(self.keys)))

    def encode_as_before(self, text: str, place: str) -> Sequence[str]:
        _, *older = self.keys
        return [self._encrypted(text, place, name) for name in older]

    def decode(self, encoded: str, place: str) -> str:
        method, _, rest = encoded.partition(":")
        name, _, data = rest.partition(":")
        if method not in (_METHOD, _COMPRESSED_METHOD):
            raise CodecError(f"it is not encrypted but {encoded[:20]!r}...: give its own codec")
        if name not in self.keys:
            raise CodecError(f"it is encrypted with the key {name!r}, and known are only {', '.join(self.keys)}")
        try:
            decrypted = self._ciphers[name].decrypt(b64decode(data, validate=True), _bound(method, name, place))
        except (InvalidTag, ValueError) as error:
            raise CodecError(
                f"the key {name!r} does not decrypt it: it is another key of that name, or the text was "
                "changed or moved"
            ) from error
        return decompress(decrypted) if method == _COMPRESSED_METHOD else decrypted.decode("utf-8", "surrogatepass")

    def _encrypted(self, text: str, place: str, name: str) -> str:
        is_compressed = self.compress_over is not None and len(text) >= self.compress_over
        method = _COMPRESSED_METHOD if is_compressed else _METHOD
        data = compress(text) if is_compressed else text.encode("utf-8", "surrogatepass")
        encrypted = self._ciphers[name].encrypt(data, _bound(method, name, place))
        return f"{method}:{name}:{b64encode(encrypted).decode('ascii')}"


def _bound(method: str, name: str, place: str) -> list[bytes]:
    """Return what a ciphertext is bound to, in addition to its key."""
    return [f"{method}:{name}".encode(), place.encode("utf-8", "surrogatepass")]
