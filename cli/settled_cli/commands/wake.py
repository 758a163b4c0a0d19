"""``settled wake``: send again what instances have waited for in vain."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from settled.printable import printable
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend
from settled_cli.errors import CommandError
from settled_cli.instance_view import format_time
from settled_cli.output import print_json, print_table
from settled_runtime import wake_overdue


def wake(
    *,
    url: BackendUrl = None,
    codec: CodecName = None,
    older_than: Annotated[
        float,
        Parameter(help="Only what was due before that many seconds.", validator=Number(gte=0, lte=1e9)),
    ] = 3600.0,
    json: AsJson = False,
) -> None:
    """Send the messages of overdue timers again, and have workers resume turns and redrives that lie still.

    Every instance is read. It is safe to repeat, and workers may run meanwhile.
    """
    with open_backend(url, codec) as backend:
        report = wake_overdue(backend, timedelta(seconds=older_than))
    rows = [(str(each.message.key), each.what, format_time(each.since)) for each in report.overdue]
    if json:
        print_json([dict(zip(("key", "what", "since"), row, strict=True)) for row in rows])
    else:
        print_table(("key", "what", "since"), rows)
    for key, error in report.unreadable.items():
        print(f"settled: {printable(f'{key}: {error}')}", file=sys.stderr)
    if report.unreadable:
        raise CommandError(f"{len(report.unreadable)} of {report.examined} instances could not be read")
