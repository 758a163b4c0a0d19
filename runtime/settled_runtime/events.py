"""Notices: what a host tells those who watch it. Logging is one observer among others.

An observer is called where the work is done, and must be quick; one that raises is reported by the log and changes
nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias, assert_never

from attrs import frozen

from settled import Json, Key, TurnEnd
from settled.durable import DeadLetter
from settled.durable.commands import ActorResult

logger = logging.getLogger("settled")


@frozen
class TurnStarted:
    """The messages `ids` of `key` were taken up."""

    key: Key
    ids: tuple[str, ...]


@frozen
class Committed:
    """`key` is at `version` now."""

    key: Key
    version: int


@frozen
class Conflicted:
    """Another worker's commit to `key` came first."""

    key: Key


@frozen
class DeadLettered:
    """A message became a dead letter."""

    key: Key
    dead_letter: DeadLetter


@frozen
class ActionPerformed:
    """A custom action has run; `error` if it failed."""

    key: Key
    type: str
    idempotency_key: str
    error: str | None = None


@frozen
class ActorStarted:
    """The function actor `src` was started."""

    key: Key
    src: str
    idempotency_key: str
    attempt: int


@frozen
class ActorFinished:
    """A function actor's attempt has ended."""

    key: Key
    result: ActorResult


@frozen
class Emitted:
    """The machine emitted `event`; the same `idempotency_key` may come twice."""

    key: Key
    event: Json
    idempotency_key: str


@frozen
class Logged:
    """The machine logged `value`."""

    key: Key
    value: Json
    label: str | None


@frozen
class Released:
    """The messages of `key` were given back for `delay` seconds; `warning` says what is wrong, if anything is."""

    key: Key
    delay: float
    warning: str = ""


@frozen
class RecordAdjusted:
    """Something was done to `key` that no message had asked for: `note` says what."""

    key: Key
    note: str


@frozen
class ClockSkewed:
    """This machine's clock is `seconds` ahead of the backend's, or behind it; it is not used, but something may be."""

    seconds: float


@frozen
class TurnEnded:
    """The turn is over for this worker."""

    key: Key
    end: TurnEnd


@frozen
class TurnFailed:
    """The turn could not go on; the queue will hand its messages out again."""

    key: Key
    error: Exception


HostEvent: TypeAlias = (
    TurnStarted
    | Committed
    | Conflicted
    | DeadLettered
    | ActionPerformed
    | ActorStarted
    | ActorFinished
    | Emitted
    | Logged
    | Released
    | RecordAdjusted
    | ClockSkewed
    | TurnEnded
    | TurnFailed
)
Observer: TypeAlias = Callable[[HostEvent], object]


def log(notice: HostEvent) -> None:
    """Write `notice` to the logger ``settled``: what needs a person as a warning or error, the rest as it weighs."""
    level, text = _line(notice)
    logger.log(level, "%s", text, extra={"notice": notice})


def _line(notice: HostEvent) -> tuple[int, str]:
    match notice:
        case TurnStarted(key, ids):
            return logging.DEBUG, f"{key}: taking {', '.join(ids)}"
        case Committed(key, version):
            return logging.DEBUG, f"{key}: committed version {version}"
        case Conflicted(key):
            return logging.INFO, f"{key}: another worker's commit came first"
        case DeadLettered(key, letter):
            return logging.ERROR, f"{key}: {letter.message.id} set aside, {letter.reason}: {letter.detail}"
        case ActionPerformed(key, action, name, None):
            return logging.DEBUG, f"{key}: action {action} performed ({name})"
        case ActionPerformed(key, action, name, error):
            return logging.WARNING, f"{key}: action {action} failed ({name}): {error}"
        case ActorStarted(key, src, name, attempt):
            return logging.DEBUG, f"{key}: {src} started, attempt {attempt} ({name})"
        case ActorFinished(key, result):
            level = logging.DEBUG if result.ok else logging.WARNING
            return level, f"{key}: {result.id} {'done' if result.ok else f'failed: {result.data}'}"
        case Emitted(key, event, _):
            return logging.DEBUG, f"{key}: emitted {event}"
        case Logged(key, value, label):
            return logging.INFO, f"{key}: {f'{label}: ' if label else ''}{value}"
        case Released(key, delay, ""):
            return logging.DEBUG, f"{key}: given back for {delay:.3g} s"
        case Released(key, delay, warning):
            return logging.WARNING, f"{key}: given back for {delay:.3g} s: {warning}"
        case RecordAdjusted(key, note):
            return logging.WARNING, f"{key}: {note}"
        case ClockSkewed(seconds):
            return logging.WARNING, f"this machine's clock is {seconds:+.1f} s off the backend's"
        case TurnEnded(key, end):
            return logging.DEBUG, f"{key}: {end}"
        case TurnFailed(key, raised):
            return logging.ERROR, f"{key}: {type(raised).__name__}: {raised}"
        case _:
            assert_never(notice)


@frozen
class Observers:
    """Several observers as one, none of which can harm another."""

    all: tuple[Observer, ...]

    @classmethod
    def of(cls, observers: Iterable[Observer]) -> Observers:
        """`observers`, in order."""
        return cls(tuple(observers))

    def __call__(self, notice: HostEvent) -> None:
        for observer in self.all:
            try:
                observer(notice)
            except Exception:
                logger.exception("an observer failed on %s", type(notice).__name__)
