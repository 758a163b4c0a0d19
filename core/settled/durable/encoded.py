"""The mark of a text that a codec has encoded, and the error of whoever would have to read it.

A codec works at the edge of a backend (`settled_runtime.CodedBackend`): what the core reads is decoded. A text that
still has the mark was encoded with a codec or a key that this process does not have. It is neither damaged nor invalid:
it is left as it is, for a process that can decode it.
"""

from __future__ import annotations

import re

from settled.errors import CodecError
from settled.key import Key

ENCODED_PREFIX = "settled-encoded:"
"""What every encoded text begins with. No record and no message that settled writes does: those are JSON objects."""

# With the names of the method and the key, but without what was encoded.
_BEGINNING = re.compile(rf"{ENCODED_PREFIX}[A-Za-z0-9_.+-]{{0,40}}(:[A-Za-z0-9_.-]{{1,40}}(?=:))?")


def not_decoded(key: Key, what: str, text: str) -> CodecError:
    """Return the error for `text`, which is `what` of `key` and begins with `ENCODED_PREFIX`."""
    begins = _BEGINNING.match(text)
    return CodecError(
        f"{key}: {what} cannot be decoded here (it begins with {begins and begins[0]!r}); nothing was changed, and the "
        "messages wait in the queue: give this process the codec, and the key, that it was encoded with"
    )
