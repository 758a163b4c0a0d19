"""Interruptions: a call that is cut short at each of its own round trips in turn, as by the end of its process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from settled import SettledError
from settled_conformance.fixture import BackendFixture


def each_interruption(fixture: BackendFixture, arrange: Callable[[], Callable[[], object]]) -> Iterator[str]:
    """Make the call that `arrange` returns again and again, each time cut short at the next of its own round trips.

    An adapter that cannot be instrumented makes each call in one piece, and nothing comes of this.
    """
    for number in count(1):
        fixture.reset()
        call, round_trips = arrange(), list[str]()

        def point(name: str, number: int = number, round_trips: list[str] = round_trips) -> None:
            round_trips.append(name)
            if len(round_trips) == number:
                raise InterruptedCall(name)

        fixture.harness.instrument(point)
        try:
            call()
        except InterruptedCall as cut:
            fixture.harness.instrument(None)
            yield str(cut)
        except SettledError as error:
            fixture.harness.instrument(None)
            yield f"{round_trips[-1] if round_trips else 'the call'}, answered with {type(error).__name__}"
        else:
            fixture.harness.instrument(None)
            if len(round_trips) < number:
                return


class InterruptedCall(BaseException):
    """The process that made the call is gone."""
