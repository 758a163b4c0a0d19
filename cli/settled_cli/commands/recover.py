"""``settled recover``: bring back what the queue of a backend has given up."""

from __future__ import annotations

from collections.abc import Iterator

from settled.durable import Recovered
from settled_cli.arguments import AsJson, BackendUrl, CodecName
from settled_cli.backend import open_backend
from settled_cli.errors import CommandError
from settled_cli.output import print_json, print_table
from settled_runtime import RecoveryReport, recover_dropped


def recover(*, url: BackendUrl = None, codec: CodecName = None, json: AsJson = False) -> None:
    """Bring back what the queue and the timers of a backend have moved to their dead-letter queues.

    The messages of an instance become dead letters of it, and workers take them in their order, before anything newer.
    Those of a halted instance wait for its redrive. What is not settled's stays where it is, and is listed.
    """
    with open_backend(url, codec) as backend:
        report = recover_dropped(backend)
    rows = list(_rows(report))
    if json:
        print_json([dict(zip(("key", "id", "result"), row, strict=True)) for row in rows])
    else:
        print_table(("key", "id", "result"), rows)
    if report.left:
        raise CommandError(f"{len(report.left)} {'message stays' if len(report.left) == 1 else 'messages stay'}")


def _rows(report: RecoveryReport) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the id and what became of it, for each message."""
    for each in report.recovered:
        yield from ((str(each.key), id, _result(each)) for id in each.added)
        yield from ((str(each.key), id, "is known to the instance already") for id in each.known)
    for message in report.sent:
        yield (str(message.key), message.id, "was sent again")
    for left in report.left:
        yield ("", "", f"stays in {left.queue}: {left.text} ({left.reason})")


def _result(recovered: Recovered) -> str:
    result = "waits with its halted instance" if recovered.halted else "will be taken"
    return f"{result}, perhaps after later messages" if recovered.overtaken else result
