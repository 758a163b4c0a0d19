"""``settled worker``: a worker as a process."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from settled import Policy
from settled.printable import printable
from settled_cli.arguments import BackendUrl, CodecName
from settled_cli.backend import open_backend
from settled_cli.machines import find_function, find_machines, with_distinct_ids
from settled_runtime import Worker, log, log_with
from settled_runtime.url import without_credentials


def worker(
    *machines: Annotated[str, Parameter(help="module:attribute, or folders that have a machine.py.")],
    url: BackendUrl = None,
    codec: CodecName = None,
    concurrency: Annotated[
        int, Parameter(help="How many turns may run actors or actions at the same time.", validator=Number(gte=1))
    ] = 8,
    accept_version: Annotated[
        tuple[str, ...],
        Parameter(help="Also process instances of this version, without a migration. For a rollback."),
    ] = (),
    failed_events: Annotated[
        Literal["halt", "skip"],
        Parameter(help="What an instance does after an event that keeps failing: wait for an operator, or go on."),
    ] = "halt",
    observer: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A function of each HostEvent, module:function; may be given several times."),
    ] = (),
    verbose: Annotated[bool, Parameter(negative="", help="Log every step, and payloads.")] = False,
    redact: Annotated[
        str | None,
        Parameter(help="A function that returns the text to log of a payload, module:function; with --verbose."),
    ] = None,
) -> None:
    """Process messages until SIGTERM or Ctrl-C; then finish the running turns, release the other messages, and exit."""
    names: tuple[str | None, ...] = machines or (None,)
    found = with_distinct_ids((str(name), machine) for name in names for machine in find_machines(name))
    write_log = log if redact is None else log_with(find_function(redact, "a redactor"))
    observers = (write_log, *(find_function(each, "an observer") for each in observer))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("settled").setLevel(logging.DEBUG if verbose else logging.INFO)
    set_on_retry_hooks([_log_retry])
    with open_backend(url, codec) as backend:
        banner = f"settled: serving {', '.join(machine.id for machine in found)} on {without_credentials(str(url))}"
        print(printable(banner), file=sys.stderr)
        policy = Policy(accepts=frozenset(accept_version), failed_events=failed_events)
        with Worker(found, backend, policy=policy, observers=observers, concurrency=concurrency) as serving:
            serving.run()


def _log_retry(details: RetryDetails) -> None:
    # Replaces stamina's own log line, whose text names neither the error nor the wait.
    logging.getLogger("settled").warning("%s: trying again in %.1f s", details.caused_by, details.wait_for)
