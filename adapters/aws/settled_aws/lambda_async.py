"""Lambda with an event loop: the groups of an invocation side by side, as tasks of a loop that outlives it.

What an actor keeps open, a session or a pool of connections, belongs to its loop; so it is the same one each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field

from settled import SettledError, TurnEnd
from settled.durable import Delivery
from settled_aws.lambda_handler import Deadline
from settled_runtime import AsyncHost


@define(eq=False)
class Loop:
    """Takes groups through `host`; called as what `lambda_handler` calls with a `Host` is."""

    host: AsyncHost
    _runner: asyncio.Runner = field(factory=asyncio.Runner, init=False)

    def __call__(self, groups: Sequence[Sequence[Delivery]], term: Deadline) -> Sequence[bool]:
        return self._runner.run(self._all(groups, term))

    async def _all(self, groups: Sequence[Sequence[Delivery]], term: Deadline) -> Sequence[bool]:
        return await asyncio.gather(*(self._is_taken(group, term) for group in groups))

    async def _is_taken(self, deliveries: Sequence[Delivery], term: Deadline) -> bool:
        if not deliveries:
            return True
        if term.is_over:
            with suppress(SettledError):  # the lease runs out
                await asyncio.to_thread(self.host.backend.queue.release, deliveries)
            return False
        ends = await self.host.handle(deliveries, term.stop_signal)
        return ends[deliveries[0].message.key] is TurnEnd.DONE
