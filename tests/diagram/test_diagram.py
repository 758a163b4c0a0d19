"""Diagrams: their content, how unusual names are escaped, and that the text is reproducible.

The texts in ``diagrams/`` were rendered with Mermaid 11 and 12 and with Graphviz, and reviewed. To update them after a
change, run ``python -m tests.diagram.test_diagram``, then render and review them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settled import Chart, Configuration, and_, compile_chart, dot, mermaid, not_, or_, setup, state_in
from settled.diagram.model import diagram, on_one_line

HERE = Path(__file__).parent / "diagrams"
SIGNUP = Path(__file__).parents[2] / "examples" / "signup" / "signup.json"
ACTIVE: dict[str, Any] = {"signup": {"waitingForCode": "codeSent"}, "parallel": {"open": {"saving": "dirty"}}}
NAMES = ("flat", "nested", "odd", "parallel", "regions", "signup")
LANGUAGES: dict[str, Callable[[Chart, Configuration | None], str]] = {"mermaid": mermaid, "dot": dot}


def drawn(name: str, language: str) -> str:
    source = SIGNUP if name == "signup" else HERE / f"{name}.json"
    chart = compile_chart(source.read_text(encoding="utf-8"))
    return LANGUAGES[language](chart, chart.resolve(ACTIVE[name]) if name in ACTIVE else None)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_the_one_that_was_reviewed(name: str, language: str) -> None:
    assert drawn(name, language) == (HERE / f"{name}.{language}").read_text(encoding="utf-8")


def of(**states: Any) -> Chart:
    return compile_chart({"id": "m", "initial": next(iter(states)), "states": states})


def labels(chart: Chart) -> list[str]:
    return [" ".join(arrow.label) for arrow in diagram(chart).arrows if not arrow.source.endswith("__initial")]


def lines(chart: Chart, id: str) -> tuple[str, ...]:
    return next(shape.lines for shape in diagram(chart).all() if shape.id == id)


class TestLabels:
    def test_what_triggers_a_transition(self) -> None:
        invoke = [
            {"id": "i", "src": "work", "onDone": "b", "onError": "b", "onSnapshot": "b"},
            {"src": "play", "onDone": "b"},
        ]
        chart = of(
            a={"on": {"E": "b", "e.*": "b"}, "always": "b", "after": {"5": "b", "wait": "b"}, "invoke": invoke}, b={}
        )
        assert sorted(labels(chart)) == sorted(
            ["E", "e.*", "always", "after 5 ms", "after wait", "i done", "i failed", "i changed", "play done"]
        )

    @pytest.mark.parametrize(
        ("delay", "shown"),
        [
            ("0", "0 ms"),
            ("999", "999 ms"),
            ("1500", "1.5 s"),
            ("60000", "1 min"),
            ("5400000", "1.5 h"),
            ("172800000", "2 d"),
        ],
    )
    def test_a_delay_in_its_largest_unit(self, delay: str, shown: str) -> None:
        assert labels(of(a={"after": {delay: "b"}}, b={})) == [f"after {shown}"]

    def test_guards_as_text(self) -> None:
        def is_big(args: Any) -> bool:
            return True

        guard = and_("x", or_(not_("y"), {"type": "z", "params": {"n": 1, "all": True}}), state_in("#m.a"), is_big)
        transition = {"target": ".b", "guard": guard, "actions": ["one", "two"]}
        states: dict[str, Any] = {"a": {}, "b": {}}
        machine = setup(guards=dict.fromkeys("xyz", is_big), actions={"one": print, "two": print}).machine(
            {"id": "m", "initial": "a", "states": states, "on": {"E": transition}}
        )
        assert labels(machine.chart) == ["E [x and (not y or z(n: 1, all: true)) and in #m.a and is_big] / one, two"]

    def test_what_a_node_does_without_a_transition_to_another(self) -> None:
        raising = {"type": "xstate.raise", "params": {"event": {"type": "GO"}}}
        chart = of(
            a={"entry": ["x", raising], "exit": "y", "invoke": "work", "on": {"E": {"actions": "z"}, "F": {}}},
            b={"initial": "c", "states": {"c": {}}, "entry": "x"},
        )
        assert lines(chart, "a") == ("entry / x, raise GO", "invoke work", "E / z", "F (forbidden)", "exit / y")
        assert lines(chart, "b__any") == ("entry / x",)


class TestArrows:
    def test_one_to_a_descendant_begins_at_any_state(self) -> None:
        drawing = diagram(of(a={"initial": "b", "states": {"b": {}, "c": {}}, "on": {"E": ".c"}}))
        assert ("a__any", "a__c") in [(arrow.source, arrow.target) for arrow in drawing.arrows]

    def test_one_to_an_ancestor_ends_at_entering_it_anew(self) -> None:
        drawing = diagram(of(a={"initial": "b", "states": {"b": {"on": {"E": "#m.a"}}}}))
        assert ("a__b", "a__anew") in [(arrow.source, arrow.target) for arrow in drawing.arrows]
        assert "↩ a" in [shape.title for shape in drawing.all()]


class TestIds:
    def test_reserved_words_of_mermaid_are_not_used_as_ids(self) -> None:
        ids = {shape.id for shape in diagram(of(state={}, End={}, note={}, job={}, job_end={}, toString={})).all()}
        assert ids == {"state_state", "End_state", "note_state", "job", "job_end_state", "toString_state", "m__initial"}

    def test_similar_keys_get_distinct_ids(self) -> None:
        chart = of(**{"a b": {}, "a-b": {}, "1": {}, "✓": {}, "": {}})
        assert [shape.id for shape in diagram(chart).all()][1:] == ["state_1", "a_b", "a_b_2", "odd", "odd_2"]


@given(keys=st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True), event=st.text(min_size=1, max_size=8))
def test_any_name_is_readable_in_the_diagram(keys: list[str], event: str) -> None:
    states = {key: {"id": f"n{index}", "on": {event: "#n0"}} for index, key in enumerate(keys)}
    chart = compile_chart({"id": "m", "initial": keys[0], "states": states})
    for key in (*keys, event):
        shown = on_one_line(key)
        assert shown in mermaid_texts(mermaid(chart))
        assert (shown or " ") in dot_texts(dot(chart))


def mermaid_texts(text: str) -> set[str]:
    """The titles and labels in a Mermaid diagram, as a reader sees them."""
    statements: list[tuple[str, ...]] = re.findall(
        r'^ +state "(.*)" as \w+$|^ +\S+ --> \S+ : (.*)$|^ +(\w+)$', text, re.M
    )
    return {entities(next(filter(None, groups), "")).strip() for groups in statements}


def entities(text: str) -> str:
    assert not re.search(r"""[":;<>{}`\\]|#(?!\d+;)""", re.sub(r"#\d+;", "", text)), text
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text).replace("\N{NO-BREAK SPACE}", " ")


def dot_texts(text: str) -> set[str]:
    """The titles and labels in a DOT diagram, as a reader sees them."""
    return {html.unescape(label) for label in re.findall(r"label=<(?:<b>)?([^<>]*)(?:</b>)?>", text)}


def write() -> None:
    """Update the texts in ``diagrams/``."""
    for name in NAMES:
        for language in LANGUAGES:
            (HERE / f"{name}.{language}").write_text(drawn(name, language), encoding="utf-8")


if __name__ == "__main__":
    write()
