"""``settled backlog``: the messages that wait for a worker."""

from __future__ import annotations

from settled_cli.arguments import AsJson, BackendUrl
from settled_cli.backend import open_backend
from settled_cli.instance_view import format_time
from settled_cli.output import print_json, print_table
from settled_runtime.backend_commands import retried


def backlog(*, url: BackendUrl = None, json: AsJson = False) -> None:
    """Count the messages of each machine that wait for a worker, without those that one works on."""
    with open_backend(url) as backend:
        found = retried(backend.queue.backlog)
    rows = [(each.machine, each.messages, "" if each.oldest is None else format_time(each.oldest)) for each in found]
    if json:
        print_json([{"machine": row[0], "messages": row[1], "oldest": row[2] or None} for row in rows])
    else:
        print_table(("machine", "messages", "oldest"), ((row[0], str(row[1]), row[2]) for row in rows))
