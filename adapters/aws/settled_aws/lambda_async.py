"""Handle the groups of a Lambda invocation as tasks of an event loop, for an `AsyncHost`."""

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
class GroupTasks:
    """Handles groups through `host`, each in a task."""

    host: AsyncHost
    # One event loop for all invocations: connection pools and sessions that actors keep open are bound to it.
    _runner: asyncio.Runner = field(factory=asyncio.Runner, init=False)

    def __call__(self, groups: Sequence[Sequence[Delivery]], deadline: Deadline) -> Sequence[bool]:
        return self._runner.run(self._handle_groups(groups, deadline))

    async def _handle_groups(self, groups: Sequence[Sequence[Delivery]], deadline: Deadline) -> Sequence[bool]:
        return await asyncio.gather(*(self._handle_group(group, deadline) for group in groups))

    async def _handle_group(self, deliveries: Sequence[Delivery], deadline: Deadline) -> bool:
        if not deliveries:
            return True
        if deadline.is_over:
            with suppress(SettledError):  # if it fails, the leases run out
                await asyncio.to_thread(self.host.backend.queue.release, deliveries)
            return False
        ends = await self.host.handle(deliveries, deadline.stop_signal)
        return ends[deliveries[0].message.key] is TurnEnd.DONE
