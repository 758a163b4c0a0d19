"""Frozen instances, made in a third of the time.

An instance of a frozen class refuses assignment, so its own ``__init__`` has to go around that with a call for each
field. Of what is made several times in each step there is therefore a subclass that can be assigned to, for as long as
an instance of it takes to be made: last of all, that turns itself into one of the frozen class. Python lets it, because
the subclass adds nothing to the instance.
"""

from __future__ import annotations


class Open:
    """Undoes the frozenness of the class that is named after it among the bases."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__
