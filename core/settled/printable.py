"""Text that others wrote, such as the name of an instance, as it may stand in a log or on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` on one line and without control characters: those become escapes, as in what ``repr`` returns.

    A name from outside may hold a line break, which would forge a line of a log, or an escape sequence, which would
    drive a terminal. What is printable stays as it is, backslashes and quotes included.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
