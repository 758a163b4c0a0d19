"""A record as an operator sees it: read without its machine, and so without any of the code that its instance runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from settled.durable.record import ActiveTimer, FailureCount, OpenTurn, Watch
from settled.durable.record_parts import parts_from_json, window_from_json
from settled.durable.record_text import damage_as_record_error, parse_record
from settled.durable.window import WINDOW, Window
from settled.key import Key


@frozen
class RecordView:
    """The parts of a record that an operator needs to see.

    Attributes:
        snapshot: the snapshot as XState persists it; None before the start.
        timers: the active timers, by token.
        turn: the open turn, if there is one.
        failing: the failures of the current message, if it has failed.
        watch: what a worker runs of a message that was received again and again, or was lost with.
        halted: why the instance waits for an operator, if it does.
        redriving: how many dead letters a redrive has yet to take; None if there is no redrive.
        postponed: how many dead letters are to be looked through for postponed messages; None if there are none.
        unfinished: the ids of the messages whose effects may not be performed yet, each once.
        window: the outcomes of the latest messages.
    """

    snapshot: Mapping[str, Any] | None
    timers: Mapping[str, ActiveTimer]
    turn: OpenTurn | None
    failing: FailureCount | None
    watch: Watch | None
    halted: str | None
    redriving: int | None
    postponed: int | None
    unfinished: tuple[str, ...]
    window: Window

    @classmethod
    def of(cls, key: Key, body: str) -> RecordView:
        """Read the stored text of `key`.

        Raises:
            RecordError: the text is damaged, or has a format that this version of settled does not read.
        """
        data, lines = parse_record(key, body)
        with damage_as_record_error(key):
            parts = parts_from_json(key, data)
            return cls(
                snapshot=data.get("snapshot"),
                timers=parts.get("timers", {}),
                turn=parts.get("turn"),
                failing=parts.get("failing"),
                watch=parts.get("watch"),
                halted=parts.get("halted"),
                redriving=parts.get("redriving"),
                postponed=parts.get("postponed"),
                unfinished=tuple(dict.fromkeys(entry.message_id for entry in parts.get("outbox", ()))),
                window=window_from_json(data, lines, WINDOW),
            )
