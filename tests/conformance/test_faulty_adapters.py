"""The suite detects every faulty adapter, and reports it under the guarantee that the fault breaks."""

from __future__ import annotations

import pytest

from settled_conformance import Session, VerdictStatus
from tests.conformance.faulty.catalogue import FAULTY_ADAPTERS
from tests.conformance.faulty.harness import PlainHarness
from tests.conformance.faulty.reference import Plain


@pytest.mark.parametrize(
    ("adapter", "guarantee"),
    FAULTY_ADAPTERS.items(),
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_faulty_adapter_is_detected_under_its_guarantee(adapter: type[Plain], guarantee: str) -> None:
    session = Session(PlainHarness(adapter), stop_at=guarantee)
    assert session.verdict(guarantee).status is VerdictStatus.FAIL


@pytest.mark.parametrize("adapter", FAULTY_ADAPTERS, ids=lambda each: each.__name__)
def test_a_faulty_adapter_overrides_a_method_of_the_reference(adapter: type[Plain]) -> None:
    assert adapter.__doc__ and issubclass(adapter, Plain)
    own = {name for each in adapter.__mro__ if each not in Plain.__mro__ for name in vars(each)}
    changed = [name for name in own if name in vars(Plain) and not name.startswith("__")]
    assert changed, "nothing is broken"
