"""The suite's own proofs of what the ports promise, over the emulators: those that need little of the real time.

`settled conformance tests.adapters.aws.harness:emulated` takes all of them, and the explorations: half an hour.
"""

from __future__ import annotations

import pytest

from settled import Backend
from settled_conformance.bench import Bench, Broken
from settled_conformance.place import Place
from settled_conformance.proofs import proofs_of
from tests.adapters.aws.harness import KNOWN, AwsHarness
from tests.adapters.aws.place import Cloud

QUICK = ("F1", "F4", "F5", "R8", "R10", "D2", "X2", "X9", "C1")


def broken(cloud: Cloud, guarantee: str) -> list[str]:
    """What was broken by the proofs of `guarantee`."""
    harness, found = AwsHarness(cloud), list[str]()
    for proof in proofs_of(guarantee):
        if proof.needs is not None and proof.needs not in harness.capabilities:
            continue
        bench = Bench(Place.fresh(harness))
        try:
            proof.check(bench)
        except Broken as error:
            found.append(f"{proof.name}: {error}")
        finally:
            harness.instrument(None)
            bench.place.close()
        found += [f"{proof.name}: {each.how}" for each in bench.place.violations]
    return found


@pytest.mark.parametrize("guarantee", QUICK)
def test_the_adapter_keeps(guarantee: str, cloud: Cloud) -> None:
    assert broken(cloud, guarantee) == []


def test_what_is_known_to_be_broken_is_so(cloud: Cloud) -> None:
    assert "T4" in KNOWN
    assert broken(cloud, "T4") != []


def test_another_process_opens_the_same_place(cloud: Cloud) -> None:
    harness = AwsHarness(cloud)
    opener = harness.opener()
    assert opener is not None
    with pytest.MonkeyPatch.context() as patch:
        for name in cloud.environment:
            patch.setenv(name, "")  # what the opener sets is taken back after the test
        opened: Backend = opener()
    opened.close()
