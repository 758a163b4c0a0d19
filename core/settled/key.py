"""Keys of instances."""

from __future__ import annotations

from typing import NamedTuple


# A tuple, because every message looks up several tables by its key: a tuple's hash and comparison are the
# interpreter's own.
class Key(NamedTuple):
    """The identity of an instance: messages of one key are processed in order, and by one worker at a time."""

    machine: str
    instance: str

    def __str__(self) -> str:
        # Unique for every key: a slash in the machine's id is escaped, so the first one ends it.
        return f"{self.machine.replace('%', '%25').replace('/', '%2F')}/{self.instance}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Return the key whose `str` is `text`.

        Raises:
            ValueError: `text` has no slash.
        """
        machine, slash, instance = text.partition("/")
        if not slash:
            raise ValueError(f"{text!r} is no key: expected MACHINE/INSTANCE")
        # "%25" last, or an escaped "%2F" in the id would become a slash.
        return cls(machine.replace("%2F", "/").replace("%25", "%"), instance)
