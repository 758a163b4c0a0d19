"""``settled worker``: the loop, as a process."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from settled import Policy
from settled_cli.arguments import BackendUrl
from settled_cli.backend import opened
from settled_cli.machines import find_machines
from settled_runtime import Host, Worker
from settled_runtime.url import without_password


def worker(
    *machines: Annotated[str, Parameter(help="module:attribute, or folders that have a machine.py.")],
    backend: BackendUrl = None,
    concurrency: Annotated[
        int, Parameter(help="How many turns may run actors or actions at the same time.", validator=Number(gte=1))
    ] = 8,
    accept_version: Annotated[
        tuple[str, ...],
        Parameter(help="A version that the machines do not know; its instances are taken as they are. For a rollback."),
    ] = (),
    verbose: Annotated[bool, Parameter(negative="", help="Log every step.")] = False,
) -> None:
    """Take messages through machines until SIGTERM or Ctrl-C; then finish what runs, hand back the rest, and exit."""
    names: tuple[str | None, ...] = machines or (None,)
    found = [machine for name in names for machine in find_machines(name)]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("settled").setLevel(logging.DEBUG if verbose else logging.INFO)
    set_on_retry_hooks([_tell])
    with opened(backend) as place:
        where = without_password(str(backend))
        print(f"settled: working for {', '.join(machine.id for machine in found)} on {where}", file=sys.stderr)
        host = Host(found, place, policy=Policy(accepts=frozenset(accept_version)))
        Worker(host, concurrency=concurrency).run()
        host.close()


def _tell(details: RetryDetails) -> None:
    logging.getLogger("settled").warning("%s: trying again in %.1f s", details.caused_by, details.wait_for)
