"""Runs a call once for each of its round trips to the vendor, cut off there as if its process had died."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from settled import SettledError
from settled_conformance.fixture import BackendFixture


def each_interruption(fixture: BackendFixture, arrange: Callable[[], Callable[[], object]]) -> Iterator[str]:
    """Make the call that `arrange` returns once for each of its round trips, interrupted just before it; yield each.

    Each time the environment is fresh. Nothing is yielded for an adapter that cannot be instrumented: its calls are
    single round trips.
    """
    for number in count(1):
        fixture.reset()
        call, round_trips = arrange(), list[str]()

        # The defaults bind the values of this iteration.
        def point(name: str, number: int = number, round_trips: list[str] = round_trips) -> None:
            round_trips.append(name)
            if len(round_trips) == number:
                raise InterruptedCallError(name)

        fixture.harness.instrument(point)
        try:
            call()
        except InterruptedCallError as cut:
            fixture.harness.instrument(None)  # before the yield: the caller's own reads must not be interrupted
            yield str(cut)
        except SettledError as error:
            fixture.harness.instrument(None)
            yield f"{round_trips[-1] if round_trips else 'the call'}, answered with {type(error).__name__}"
        else:
            fixture.harness.instrument(None)
            if len(round_trips) < number:
                return


class InterruptedCallError(BaseException):
    """Stands for the death of the calling process. A BaseException, so that no adapter catches and retries it."""
