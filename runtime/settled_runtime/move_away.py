"""Move away what is not settled's and names no instance, so that it does not keep back what was sent after it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from settled import SettledError
from settled.printable import printable

_logger = logging.getLogger("settled")


def move_away(message: str, kind: str, find: Callable[[], str], send: Callable[[str], None]) -> bool:
    """Send a message to where the vendor keeps what it has given up, and return whether it is there.

    The caller then removes it from the queue. Whatever happens is logged as an error, for an operator to see.

    Args:
        message: names the message and its queue.
        kind: what the vendor calls the place, such as ``dead-letter queue``.
        find: returns the name of the place; empty if there is none.
        send: sends the message to the place with this name.
    """
    what = f"{message} is not settled's and names no instance"
    try:
        target = find()
        if target:
            send(target)
    except SettledError as error:
        _logger.error("%s", printable(f"{what}; it could not be moved to the {kind}: {error}"))
        return False
    if not target:
        _logger.error("%s", printable(f"{what}; it stays, because there is no {kind}"))
        return False
    _logger.error("%s", printable(f"{what}; it was moved to {target}"))
    return True
