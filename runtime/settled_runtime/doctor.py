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
class BackendProblem:
    """Something about a backend that endangers a promise: what it is, what it may cost, and what to do about it."""

    problem: str
    consequence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.consequence}. {self.remedy}"


@frozen
class Probe(Generic[T]):
    """A look of a doctor's at one thing in an account, described by `what`; `harm` is what it costs if it is not there.

    `rule` is shown the account, and yields what is off.
    """

    what: str
    consequence: str
    rule: Callable[[T], Iterator[BackendProblem]]

    def not_found(self, example: str) -> BackendProblem:
        """The thing is not there; `example` has all that is needed."""
        return BackendProblem(f"{self.what} is not there", self.consequence, f"See {example}.")

    def unreadable(self, error: Exception) -> BackendProblem:
        """Nobody has seen that it is right."""
        return BackendProblem(
            f"{self.what} could not be looked at ({error})", self.consequence, "Let these credentials read it."
        )


def examine(url: str) -> Sequence[BackendProblem] | None:
    """What endangers the backend at `url`; None if its adapter has no way to tell.

    Raises:
        Denied, RecordError, Unavailable: as the adapter's own opening of it would.
    """
    scheme = url.partition(":")[0]
    for point in entry_points(group=GROUP, name=scheme):
        look = cast("Callable[[str], Sequence[BackendProblem]]", point.load())
        return look(url)
    return None
