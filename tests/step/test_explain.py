"""Why an event changes nothing: the guards that answered false, what is taken instead, or how the machine has ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from settled import LogicError, and_, not_
from tests.parity.runner import machine_of
from tests.step.test_laws import PLAY
from tests.support.machines import after, given, machine
from tests.support.strategies import configs, events_of


def why(states: dict[str, Any], event: Any = "PAY", *before: str, **more: Any) -> str | None:
    """Return the explanation for `event` in the machine of `states`, whose first one is initial, after `before`."""
    config: Any = {"id": "shop", "context": {"n": 0}, "initial": next(iter(states)), "states": states, **more}
    shop = machine(config, guards={"yes": lambda a: True, "no": lambda a: False, "is": _is, "broken": _broken})
    return shop.explain(after(shop, *before), {"type": event} if isinstance(event, str) else event)


def _is(a: Any) -> bool:
    return bool(a.context["n"] == a.params["n"])


def _broken(a: Any) -> bool:
    raise RuntimeError("it is broken")


class TestAnEventThatHasAnEffect:
    """Nothing needs to be explained."""

    @pytest.mark.parametrize(
        "transition",
        [
            "paid",
            {"actions": "do something"},
            {"target": "basket"},
            {"guard": "yes", "target": "paid"},
            [{"guard": "no", "target": "basket"}, {"target": "paid"}],
        ],
    )
    def test_is_taken_by_a_transition(self, transition: Any) -> None:
        assert why({"basket": {"on": {"PAY": transition}}, "paid": {}}) is None

    @pytest.mark.parametrize("descriptor", ["*", "PAY.*"])
    def test_is_taken_by_a_wildcard(self, descriptor: str) -> None:
        assert why({"basket": {"on": {descriptor: "paid"}}, "paid": {}}, "PAY.cash") is None

    def test_is_taken_by_an_ancestor(self) -> None:
        assert why({"basket": {}, "paid": {}}, on={"PAY": ".paid"}) is None

    @pytest.mark.parametrize("forbidden", [{}, {"PAY": {}}])
    def test_is_followed_by_an_eventless_transition_whose_guard_sees_it(self, forbidden: Any) -> None:
        is_pay = given(lambda a: a.event["type"] == "PAY")
        basket: Any = {"on": forbidden, "always": {"guard": is_pay, "target": "paid"}}
        assert why({"basket": basket, "paid": {}}) is None
        assert why({"basket": basket, "paid": {}}, "ADD") is not None

    def test_is_a_failure_of_an_actor_which_ends_the_machine_if_nothing_takes_it(self) -> None:
        failure = "xstate.error.actor.mail"
        assert why({"basket": {}}, failure) is None
        assert why({"basket": {"on": {failure: {}}}}, failure) is not None


class TestNoTransition:
    def test_the_types_that_are_taken_are_listed_those_of_inner_nodes_first(self) -> None:
        assert why({"basket": {"on": {"ADD": "basket", "item.*": "basket"}}}, on={"CANCEL": ".basket"}) == (
            'no transition takes PAY in "shop.basket"; events taken here: ADD, item.*, CANCEL'
        )

    def test_types_are_not_listed_that_are_forbidden_or_not_for_outsiders(self) -> None:
        basket: Any = {"on": {"CANCEL": {}}, "after": {"10": "basket"}}
        assert why({"basket": basket}, on={"CANCEL": ".basket"}) == (
            'no transition takes PAY in "shop.basket"; no event is taken here'
        )

    def test_all_regions_are_named(self) -> None:
        regions: Any = {"left": {}, "right": {"on": {"ADD": "right"}}}
        both: Any = {"type": "parallel", "states": regions}
        assert why({"both": both}) == (
            'no transition takes PAY in "shop.both.left" beside "shop.both.right"; events taken here: ADD'
        )

    def test_a_route_leads_to_its_own_node_only(self) -> None:
        routes: dict[str, Any] = {
            "basket": {"id": "basket", "route": {"guard": "no"}},
            "paid": {"id": "paid", "route": {}},
        }
        assert why(routes, {"type": "xstate.route", "to": "#paid"}) is None
        assert 'guard "no"' in str(why(routes, {"type": "xstate.route", "to": "#basket"}))
        assert "guard" not in str(why(routes, {"type": "xstate.route", "to": "#elsewhere"}))


class TestGuards:
    @pytest.mark.parametrize(
        ("guard", "text"),
        [
            ("no", '"no"'),
            ({"type": "is", "params": {"n": 4}}, '"is(n: 4)"'),
            (and_("yes", not_("yes")), '"yes and not yes"'),
            (given(lambda a: False), '"states.basket.on.PAY.guard"'),
        ],
    )
    def test_that_answered_false_is_named(self, guard: Any, text: str) -> None:
        assert why({"basket": {"on": {"PAY": {"guard": guard, "target": "basket"}}}}) == (
            f'no transition takes PAY in "shop.basket": the guard {text} answered false; no event is taken here'
        )

    def test_of_all_nodes_are_named_once(self) -> None:
        inner: Any = [
            {"guard": "no", "target": "basket"},
            {"guard": {"type": "is", "params": {"n": 1}}, "target": "basket"},
        ]
        found = why({"basket": {"on": {"PAY": inner}}}, on={"*": {"guard": "no", "target": ".basket"}})
        assert found is not None
        assert 'the guards "no", "is(n: 1)" answered false' in found

    def test_that_raises_is_not_taken_for_false(self) -> None:
        with pytest.raises(LogicError, match="it is broken"):
            why({"basket": {"on": {"PAY": {"guard": "broken", "target": "basket"}}}})


class TestAForbiddenEvent:
    def test_is_explained_by_the_node_that_forbids_it(self) -> None:
        assert why({"basket": {"on": {"PAY": {}, "ADD": "basket"}}}, on={"PAY": ".basket"}) == (
            'no transition takes PAY in "shop.basket": "shop.basket" forbids it; events taken here: ADD'
        )

    def test_is_explained_by_the_guards_before_that_and_no_further(self) -> None:
        forbidden: Any = [{"guard": "no", "target": "basket"}, {}]
        found = why({"basket": {"on": {"PAY": forbidden}}}, on={"PAY": {"guard": "yes", "target": ".basket"}})
        assert found is not None
        assert 'the guard "no" answered false, "shop.basket" forbids it' in found

    def test_in_one_region_keeps_the_guards_around_all_regions_from_being_asked(self) -> None:
        regions: Any = {"left": {"on": {"PAY": {}}}, "right": {"on": {"PAY": {"guard": "no", "target": "right"}}}}
        around = {"type": "parallel", "states": regions, "on": {"PAY": {"guard": {"type": "is", "params": {"n": 1}}}}}
        found = str(why({"both": around}))
        assert ': the guard "no" answered false, "shop.both.left" forbids it;' in found

    def test_by_a_guard_that_answered_true_leaves_later_guards_unasked(self) -> None:
        forbidden: Any = [{"guard": "yes"}, {"guard": "no", "target": "basket"}]
        assert ': "shop.basket" forbids it;' in str(why({"basket": {"on": {"PAY": forbidden}}}))


class TestAMachineThatHasEnded:
    def test_is_done(self) -> None:
        assert why({"basket": {"on": {"PAY": "paid"}}, "paid": {"type": "final"}}, "PAY", "PAY") == (
            'the machine is done, in "shop.paid"'
        )

    @pytest.mark.parametrize(
        ("error", "text"),
        [({"name": "SMTPError", "message": "no such box"}, "SMTPError: no such box"), ("no", "no"), ([1], "[1]")],
    )
    def test_has_failed(self, error: Any, text: str) -> None:
        shop = machine({"id": "shop", "initial": "basket", "states": {"basket": {}}})
        failed, _ = shop.transition(after(shop), {"type": "xstate.error.actor.mail", "error": error})
        assert shop.explain(failed, {"type": "PAY"}) == f"the machine has failed: {text}"

    def test_was_stopped(self) -> None:
        shop = machine({"id": "shop", "initial": "basket", "states": {"basket": {}}})
        assert shop.explain(after(shop, "xstate.stop"), {"type": "PAY"}) == "the machine was stopped"


@PLAY
@for_all(st.data())
def test_what_is_explained_changes_nothing_and_what_can_be_taken_is_not_explained(data: st.DataObject) -> None:
    config = data.draw(configs())
    some = machine_of(config)
    snapshot, _ = some.initial_transition()
    for event in data.draw(st.lists(events_of(config), max_size=8)):
        try:
            found, (later, effects) = some.explain(snapshot, event), some.transition(snapshot, event)
        except LogicError:
            continue
        assert found is None or (later is snapshot and not effects)
        assert found is not None or later is not snapshot or effects or some.can(snapshot, event)
        if snapshot.status == "active" and some.can(snapshot, event):
            assert found is None
        snapshot = later
