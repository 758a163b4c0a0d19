"""What every backend must keep, as tests that anybody can run against their own.

The law of this package: it sees a backend only through `settled.ports`, so whatever it demands can be read there, and
each of its tests names the guarantee that it proves.
"""

from typing import TYPE_CHECKING

from settled_conformance.bench import Bench, Broken
from settled_conformance.guarantees import GUARANTEES, Guarantee
from settled_conformance.harness import Harness, Kind, Opener, Point
from settled_conformance.loading import NoHarness, load_harness
from settled_conformance.report import Report
from settled_conformance.session import Session, Status, Verdict

if TYPE_CHECKING:
    from settled_conformance.case import BackendConformance

__all__ = [
    "GUARANTEES",
    "BackendConformance",
    "Bench",
    "Broken",
    "Guarantee",
    "Harness",
    "Kind",
    "NoHarness",
    "Opener",
    "Point",
    "Report",
    "Session",
    "Status",
    "Verdict",
    "load_harness",
]


def __getattr__(name: str) -> object:
    """`BackendConformance` needs pytest, which the command does without."""
    if name == "BackendConformance":
        from settled_conformance.case import BackendConformance  # noqa: PLC0415

        return BackendConformance
    raise AttributeError(name)
