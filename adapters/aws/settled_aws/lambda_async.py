"""Handle the groups of a Lambda invocation as tasks of an event loop, for an `AsyncHost`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field

from settled import SettledError
from settled.durable import Delivery
from settled_aws.lambda_handler import Deadline
from settled_runtime import AsyncHost


@define(eq=False)
class GroupTasks:
    """Handles groups through `host`, each in a task."""

    host: AsyncHost
    # One event loop for all invocations: connection pools and sessions that actors keep open are bound to it.
    _runner: asyncio.Runner = field(factory=asyncio.Runner, init=False)

    def __call__(self, groups: Sequence[Sequence[Delivery]], deadline: Deadline) -> None:
        self._runner.run(self._handle_groups(groups, deadline))

    async def _handle_groups(self, groups: Sequence[Sequence[Delivery]], deadline: Deadline) -> None:
        await asyncio.gather(*(self._handle_group(group, deadline) for group in groups))

    async def _handle_group(self, deliveries: Sequence[Delivery], deadline: Deadline) -> None:
        if not deadline.is_over:
            await self.host.handle(deliveries, deadline.stop_signal)
        elif deliveries:
            with suppress(SettledError):  # if it fails, the leases run out
                await asyncio.to_thread(self.host.backend.queue.release, deliveries)
