"""The codecs that the tests of the command line name."""

from __future__ import annotations

from settled_runtime import Encryption

first = Encryption({"a": bytes(range(64))})
other = Encryption({"a": bytes(range(64, 128))})
key = bytes(64)
