"""All adapters that are faulty on purpose, each with the guarantee that must catch it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.faulty.backlog_faults import BACKLOG_FAULTS
from tests.conformance.faulty.dead_letter_faults import DEAD_LETTER_FAULTS
from tests.conformance.faulty.deduplication_faults import DEDUPLICATION_FAULTS
from tests.conformance.faulty.header_faults import HEADER_FAULTS
from tests.conformance.faulty.lease_faults import LEASE_FAULTS
from tests.conformance.faulty.loss_faults import LOSS_FAULTS
from tests.conformance.faulty.machine_faults import MACHINE_FAULTS
from tests.conformance.faulty.queue_faults import QUEUE_FAULTS
from tests.conformance.faulty.reference import Plain
from tests.conformance.faulty.store_faults import STORE_FAULTS
from tests.conformance.faulty.text_faults import TEXT_FAULTS
from tests.conformance.faulty.timer_faults import TIMER_FAULTS
from tests.conformance.faulty.watch_faults import WATCH_FAULTS
from tests.conformance.faulty.write_faults import WRITE_FAULTS

FAULTY_ADAPTERS: Mapping[type[Plain], str] = {
    **QUEUE_FAULTS,
    **MACHINE_FAULTS,
    **BACKLOG_FAULTS,
    **LEASE_FAULTS,
    **DEDUPLICATION_FAULTS,
    **STORE_FAULTS,
    **DEAD_LETTER_FAULTS,
    **WRITE_FAULTS,
    **TIMER_FAULTS,
    **TEXT_FAULTS,
    **HEADER_FAULTS,
    **LOSS_FAULTS,
    **WATCH_FAULTS,
}
"""By class; being caught by other guarantees as well is no fault."""
