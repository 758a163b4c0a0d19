"""``python -m bench.storm.load NUMBER``: one of the clients. It sends its share of the events, in order.

It may be killed at any time. Started again, it sends what it has not noted as sent, under the same message ids.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from bench.storm.journals import Sent, now
from bench.storm.machine import version_1
from bench.storm.settings import Settings
from settled import OutcomeUnknownError, UnavailableError
from settled_runtime import Client, connect

RETRY_INTERVAL = 0.2
"""The pause, in seconds, before a client repeats a call that has failed."""


def run(number: int, settings: Settings) -> None:
    """Send the events of every instance that is this client's."""
    mine = set(sorted({event.instance for event in settings.plan()})[number :: settings.clients])
    journals = settings.journals
    sent = {(entry.instance, entry.n) for entry in journals.read(Sent)}
    with connect(settings.url) as backend:
        client = Client(version_1, backend)
        for name in sorted(mine):
            if (name, 0) not in sent:
                until_confirmed(partial(client.start, name, message_id=f"{name}-start"))
                journals.write(Sent(now(), name, 0))
        for event in settings.plan():
            if event.instance in mine and (event.instance, event.n) not in sent:
                time.sleep(max(0.0, settings.began + event.due - now()))
                content = {"type": event.type, "n": event.n}
                id = f"{event.instance}-{event.n}"
                until_confirmed(partial(client.send, event.instance, content, message_id=id))
                journals.write(Sent(now(), event.instance, event.n))


def until_confirmed(send: Callable[[], object]) -> None:
    """Call `send` until it neither fails nor leaves open whether it has."""
    while True:
        try:
            send()
            return
        except (UnavailableError, OutcomeUnknownError):
            time.sleep(RETRY_INTERVAL)


if __name__ == "__main__":
    run(int(sys.argv[1]), Settings.from_environment())
