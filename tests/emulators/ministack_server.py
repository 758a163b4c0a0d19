"""ministack by a clock that is ours: it stands still until it is told to move.

All that passes in ministack (visibility, delays, the memory for duplicates, what is due) goes by ``time.time``, so that
is replaced before ministack is imported; the network goes by the monotonic clock, and so on as before. A long poll
whose end lies in time that stands still ends with a message only.

One fault is mended here, because it would look like ours: to ministack a receipt is good until the next one. To a FIFO
queue of AWS's it is good until its visibility timeout is over (https://repost.aws/knowledge-center/sqs-receipt-handle-error).

It is told by lines on a port of its own: a number of seconds since the epoch, or ``run``, which is to go on from there
as fast as the real one. A line is answered when the schedules that are due by then have fired.
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

USES_OF_A_RECEIPT = ("DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch")


class Clock:
    """What ministack takes for ``time.time``."""

    def __init__(self) -> None:
        self._real = time.time
        self._ahead = 0.0
        self._stands_at: float | None = None

    def __call__(self) -> float:
        return self._real() + self._ahead if self._stands_at is None else self._stands_at

    def told(self, line: str) -> None:
        """Stand still at this time, or go on from where it is."""
        if line == "run":
            self._ahead, self._stands_at = self() - self._real(), None
        else:
            self._stands_at = float(line)


def main(control: int) -> None:
    """Serve, and listen for the time at port `control` of loopback."""
    clock = Clock()
    time.time = clock
    sqs, scheduler = (import_module(f"ministack.services.{name}") for name in ("sqs", "scheduler"))
    for action in USES_OF_A_RECEIPT:
        sqs._HANDLERS[action] = with_expiry(sqs, sqs._HANDLERS[action])

    class Told(socketserver.StreamRequestHandler):
        """Whoever moves the clock."""

        def handle(self) -> None:
            for line in self.rfile:
                clock.told(line.decode().strip())
                scheduler._tick_schedules()
                self.wfile.write(b"done\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", control), Told)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.argv = ["ministack"]
    import_module("ministack.app").main()


def with_expiry(sqs: Any, act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, to which receipts of a FIFO queue whose time is over are unknown."""

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
