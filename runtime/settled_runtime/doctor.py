"""What endangers the promises of a backend: how it is set up, and what that may cost.

An adapter that can tell registers a function as an entry point of the group ``settled.doctors``, under the schemes of
its URLs. It takes the whole URL, changes nothing, and returns what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from attrs import frozen

GROUP = "settled.doctors"

T = TypeVar("T")


@frozen
class Danger:
    """Something about a backend that endangers a promise: what it is, what it may cost, and what to do about it."""

    what: str
    harm: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.harm}. {self.remedy}"


@frozen
class Look(Generic[T]):
    """A look of a doctor's at one thing in an account, described by `what`; `harm` is what it costs if it is not there.

    `rule` is shown the account, and yields what is off.
    """

    what: str
    harm: str
    rule: Callable[[T], Iterator[Danger]]

    def found_nothing(self, example: str) -> Danger:
        """The thing is not there; `example` has all that is needed."""
        return Danger(f"{self.what} is not there", self.harm, f"See {example}.")

    def was_refused(self, error: Exception) -> Danger:
        """Nobody has seen that it is right."""
        return Danger(f"{self.what} could not be looked at ({error})", self.harm, "Let these credentials read it.")


def examine(url: str) -> Sequence[Danger] | None:
    """What endangers the backend at `url`; None if its adapter has no way to tell.

    Raises:
        Denied, RecordError, Unavailable: as the adapter's own opening of it would.
    """
    scheme = url.partition(":")[0]
    for point in entry_points(group=GROUP, name=scheme):
        look = cast("Callable[[str], Sequence[Danger]]", point.load())
        return look(url)
    return None
