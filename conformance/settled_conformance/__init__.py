"""The conformance suite: tests of every guarantee, to be run against any backend.

The law of this package: it sees a backend only through `settled.durable.ports`, so every requirement can be read there,
and each check names the guarantee that it tests.
"""

from settled.lazy_names import lazy_names

__getattr__ = lazy_names(
    globals(),
    {
        "settled_conformance.fixture": "BackendFixture GuaranteeBrokenError",
        "settled_conformance.case": "BackendConformance",
        "settled_conformance.guarantees": "GUARANTEES Guarantee",
        "settled_conformance.harness": "BackendKind Harness HarnessFeature Opener Point",
        "settled_conformance.loading": "HarnessError load_harness",
        "settled_conformance.report": "Report",
        "settled_conformance.session": "Session Verdict VerdictStatus",
    },
)
