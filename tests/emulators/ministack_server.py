"""ministack on a virtual clock, which tests stop and advance.

Everything timed in ministack (visibility, delays, deduplication, schedules) uses ``time.time``, which is replaced
before ministack is imported. The network uses the monotonic clock, and is not affected. A long poll on a stopped clock
ends only with a message.

One fault of ministack's is corrected, because it would look like ours: it accepts a receipt handle until the message is
received again. A FIFO queue of AWS's accepts it until its visibility timeout ends
(https://repost.aws/knowledge-center/sqs-receipt-handle-error).

The clock is controlled by lines on another port: a time in seconds since the epoch stops it there, ``run`` lets it run
at the real rate. A line is answered when the schedules that are due by then have fired.
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

RECEIPT_ACTIONS = ("DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch")


class Clock:
    """Replaces ``time.time`` in ministack."""

    def __init__(self) -> None:
        self._real = time.time
        self._offset = 0.0
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        return self._real() + self._offset if self._stopped_at is None else self._stopped_at

    def execute(self, line: str) -> None:
        """Stop at this time, or run on from the current one."""
        if line == "run":
            self._offset, self._stopped_at = self() - self._real(), None
        else:
            self._stopped_at = float(line)


def main(control: int) -> None:
    """Run ministack, with the control port `control` on loopback."""
    clock = Clock()
    time.time = clock
    sqs, scheduler = (import_module(f"ministack.services.{name}") for name in ("sqs", "scheduler"))
    for action in RECEIPT_ACTIONS:
        sqs._HANDLERS[action] = with_expiry(sqs, sqs._HANDLERS[action])

    class ClockControl(socketserver.StreamRequestHandler):
        """A connection that controls the clock."""

        def handle(self) -> None:
            for line in self.rfile:
                clock.execute(line.decode().strip())
                scheduler._tick_schedules()
                self.wfile.write(b"done\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", control), ClockControl)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.argv = ["ministack"]
    import_module("ministack.app").main()


def with_expiry(sqs: Any, act: Callable[..., Any]) -> Callable[..., Any]:
    """Return `act`, to which expired receipt handles of FIFO queues are unknown."""

    def acts(data: Mapping[str, Any], url: str) -> Any:
        queue = sqs._get_q(data.get("QueueUrl", url))
        if queue["is_fifo"]:
            for message in queue["messages"]:
                if message["visible_at"] <= time.time():
                    message["receipt_handle"] = None
        return act(data, url)

    return acts


if __name__ == "__main__":
    main(int(sys.argv[1]))
