"""Finds problems in how a backend is set up that endanger settled's guarantees.

An adapter that can examine its backends registers a function as an entry point of the group ``settled.doctors``, under
each of its schemes. The function takes the whole URL, changes nothing, and returns the problems it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from attrs import frozen

from settled.durable import Backend, Capability

GROUP = "settled.doctors"

T = TypeVar("T")


@frozen
class BackendProblem:
    """One thing in a backend's setup that endangers a guarantee.

    Attributes:
        problem: what is wrong.
        consequence: what may happen because of it.
        remedy: what to do about it, as a sentence.
    """

    problem: str
    consequence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.consequence}. {self.remedy}"


@frozen
class Probe(Generic[T]):
    """One examination of a doctor's: of one resource in a vendor's account or server.

    Attributes:
        what: the resource, as a phrase such as "the table".
        consequence: what may happen if it does not exist or cannot be read.
        rule: yields the problems of the resource; gets whatever the adapter reads its account through.
    """

    what: str
    consequence: str
    rule: Callable[[T], Iterator[BackendProblem]]

    def not_found(self, example: str) -> BackendProblem:
        """Return the problem that the resource does not exist; `example` names a setup that has it."""
        return BackendProblem(f"{self.what} does not exist", self.consequence, f"See {example}.")

    def unreadable(self, error: Exception) -> BackendProblem:
        """Return the problem that reading the resource failed with `error`, so that it was not examined."""
        return BackendProblem(
            f"{self.what} could not be examined ({error})", self.consequence, "Let these credentials read it."
        )


def backlog_problems(backend: Backend) -> Iterator[BackendProblem]:
    """Yield a problem for each machine whose messages have waited longer than a lease, although nobody holds them."""
    if Capability.BACKLOG not in backend.capabilities:
        return
    for each in backend.queue.backlog():
        age = 0.0 if each.oldest is None else backend.now() - each.oldest
        if age > backend.lease.total_seconds():
            consequence = f"for {age:.0f} s, so perhaps no worker serves this machine"
            remedy = f"Start a worker for it, or move them to a file: settled set-aside {each.machine} FILE"
            yield BackendProblem(f"{each.machine}: messages wait ({each.messages})", consequence, remedy)


def in_words(seconds: float) -> str:
    """Return `seconds` as a text for people, such as ``23 hours``."""
    for name, length in (("days", 24 * 60 * 60), ("hours", 60 * 60), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"


def examine(url: str) -> Sequence[BackendProblem] | None:
    """Return the problems of the backend at `url`; None if its adapter registers no doctor.

    Raises:
        BackendConfigError, AccessDeniedError, RecordError, UnavailableError: as opening the backend would.
    """
    scheme = url.partition(":")[0]
    for point in entry_points(group=GROUP, name=scheme):
        find_problems = cast("Callable[[str], Sequence[BackendProblem]]", point.load())
        return find_problems(url)
    return None
