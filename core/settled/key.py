"""Keys: the unit of order and of mutual exclusion."""

from __future__ import annotations

from attrs import frozen


@frozen(order=True, cache_hash=True)
class Key:
    """One instance of one machine: the unit of order and of mutual exclusion."""

    machine: str
    instance: str

    def __str__(self) -> str:
        """Unique for every key: the first unescaped slash ends the machine's id."""
        return f"{self.machine.replace('%', '%25').replace('/', '%2F')}/{self.instance}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that `str` wrote.

        Raises:
            ValueError: `text` has no slash.
        """
        machine, slash, instance = text.partition("/")
        if not slash:
            raise ValueError(f"{text!r} is no key: expected MACHINE/INSTANCE")
        return cls(machine.replace("%2F", "/").replace("%25", "%"), instance)
