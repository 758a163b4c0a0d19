"""Properties of every machine."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settled import LogicError, Machine, Snapshot
from tests.parity.corpora import why_illegal
from tests.parity.runner import machine_of
from tests.support.strategies import configs, events_of

AnyMachine = Machine[Any]
AnySnapshot = Snapshot[Any]
PLAY = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@st.composite
def plays(draw: st.DrawFn) -> tuple[AnyMachine, list[AnySnapshot], list[dict[str, Any]]]:
    """A machine, the snapshots it went through, and the events that took it from each one to the next."""
    config = draw(configs())
    machine = machine_of(config)
    snapshot, _ = machine.initial_transition()
    snapshots, events = [snapshot], list[dict[str, Any]]()
    for event in draw(st.lists(events_of(config), max_size=6)):
        try:
            snapshot, _ = machine.transition(snapshot, event)
        except LogicError:
            continue
        snapshots.append(snapshot)
        events.append(event)
    return machine, snapshots, events


@PLAY
@given(plays())
def test_a_stored_snapshot_has_the_same_future(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    machine, snapshots, events = play
    for snapshot, event in zip(snapshots, events, strict=False):
        stored = machine.load(machine.dump(snapshot))
        assert stored == snapshot
        assert machine.transition(stored, event) == machine.transition(snapshot, event)


@PLAY
@given(plays())
def test_storing_a_snapshot_again_gives_the_same_text(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    machine, snapshots, _ = play
    for snapshot in snapshots:
        assert machine.dump(machine.load(machine.dump(snapshot))) == machine.dump(snapshot)


@PLAY
@given(plays())
def test_a_step_does_not_modify_its_arguments(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    machine, snapshots, events = play
    for snapshot, event in zip(snapshots, events, strict=False):
        before, sent = machine.dump(snapshot), deepcopy(event)
        machine.transition(snapshot, event)
        assert (machine.dump(snapshot), event) == (before, sent)


@PLAY
@given(plays())
def test_a_step_is_deterministic(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    machine, snapshots, events = play
    for snapshot, event in zip(snapshots, events, strict=False):
        assert machine.transition(snapshot, event) == machine.transition(snapshot, event)


@PLAY
@given(plays(), st.integers(0, 100))
def test_effects_are_numbered_in_their_order(
    play: tuple[AnyMachine, list[AnySnapshot], list[Any]], first_index: int
) -> None:
    machine, snapshots, events = play
    for snapshot, event in zip(snapshots, events, strict=False):
        _, effects = machine.transition(snapshot, event, first_index=first_index)
        assert [effect.index for effect in effects] == list(range(first_index, first_index + len(effects)))


@PLAY
@given(plays())
def test_microsteps_add_up_to_the_step(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    machine, snapshots, events = play
    for snapshot, event in zip(snapshots, events, strict=False):
        after, effects = machine.transition(snapshot, event)
        steps = machine.microsteps(snapshot, event)
        shown = [effect for _, own in steps for effect in own]
        assert list(effects[: len(shown)]) == shown
        if steps and steps[-1][0].configuration.is_legal:
            assert steps[-1][0] == after


@PLAY
@given(plays())
def test_an_event_that_nothing_takes_returns_the_same_snapshot_object(
    play: tuple[AnyMachine, list[AnySnapshot], list[Any]],
) -> None:
    machine, snapshots, _ = play
    calm = [node for node in machine.chart.nodes if not node.always]
    for snapshot in snapshots:
        is_free = snapshot.configuration.members <= set(calm)
        if is_free and not machine.can(snapshot, {"type": "nothing.takes.this"}):
            after, effects = machine.transition(snapshot, {"type": "nothing.takes.this"})
            assert after is snapshot
            assert effects == ()


@PLAY
@given(plays())
def test_a_step_ends_in_a_legal_configuration(play: tuple[AnyMachine, list[AnySnapshot], list[Any]]) -> None:
    _, snapshots, _ = play
    for snapshot in snapshots:
        # A machine that failed at its start is only in its root.
        assert snapshot.status == "error" or why_illegal(snapshot) is None
