"""The contract of a codec, which encodes the texts that a backend keeps: to hide them, or to shrink them.

`connect(url, codec=...)` puts one between a backend and all who use it; see `settled_runtime.coded_backend`. Ready ones
are `Encryption` and `Compression`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Codec(Protocol):
    """Encodes and decodes texts. Several threads may call it at the same time.

    Each text is encoded for a `place`: a short text that says what it is and whose, such as the message ``m1`` of
    ``order/42``. Encryption authenticates it, so that a text which was moved to another place is not decoded there.
    """

    @property
    def accepts_plain_text(self) -> bool:
        """Whether texts are read that were never encoded: those from before there was a codec, for example."""
        ...

    def largest_text(self, largest: int) -> int:
        """Return how many bytes, in UTF-8, a text may have that is stored in `largest` bytes at most."""
        ...

    def encode(self, text: str, place: str) -> str | None:
        """Return `text` encoded; None to keep it as it is.

        The same text gives the same result each time at the same place: queues recognise a repetition by it.
        """
        ...

    def encode_as_before(self, text: str, place: str) -> Sequence[str | None]:
        """Return what this codec may have encoded `text` as earlier, with older keys for example, the latest first.

        By these, a queue that compares bodies recognises a repetition of a message from before the change. They are
        sent to the backend, so they must hide what `encode` hides.
        """
        ...

    def decode(self, encoded: str, place: str) -> str:
        """Return the text that `encode` has encoded as `encoded` for `place`, with the present keys or older ones.

        Raises:
            CodecError: it cannot be decoded. The text of the error says why, and quotes neither text nor keys.
        """
        ...
