"""Frozen data reads like any other, cannot be changed, and gives plain data to whoever copies it."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settled.data import MAX_DEPTH, freeze, is_json, with_changes, write_object
from settled.frozen_data import FrozenDict, FrozenList
from tests.support.vandal import DICT_CHANGES, LIST_CHANGES

FLAT: dict[str, Any] = {"n": 1, "text": "a", "none": None}
NESTED: dict[str, Any] = {"list": [1, [2.5], {"a": {}}], "object": {"b": []}}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_data = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
odd = scalars | st.just(float("nan")) | st.just(float("inf")) | st.sets(st.integers()) | st.binary()
any_data = st.recursive(
    odd, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
)


def deep(levels: int) -> Any:
    """Return arrays in each other, `levels` deep."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


class TestFrozenData:
    @pytest.mark.parametrize("change", [*DICT_CHANGES])
    @pytest.mark.parametrize("data", [FLAT, NESTED])
    def test_refuses_to_change_an_object(self, data: dict[str, Any], change: Callable[[Any], object]) -> None:
        frozen = freeze(data)
        with pytest.raises(TypeError, match="this object cannot be changed"):
            change(frozen)
        assert frozen == data

    @pytest.mark.parametrize("change", [*LIST_CHANGES])
    def test_refuses_to_change_an_array(self, change: Callable[[Any], object]) -> None:
        frozen = freeze(NESTED)["list"]
        with pytest.raises(TypeError, match="this array cannot be changed"):
            change(frozen)
        assert frozen == NESTED["list"]

    @given(json_data)
    def test_reads_like_what_it_was_made_of(self, data: Any) -> None:
        frozen = freeze(data)
        assert frozen == data
        assert repr(frozen) == repr(data)
        assert isinstance(frozen, type(data))
        assert json.dumps(frozen) == json.dumps(data)

    @pytest.mark.parametrize(
        "plain_copy",
        [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))],
        ids=["deepcopy", "pickle"],
    )
    def test_is_plain_all_through_once_it_is_copied(self, plain_copy: Callable[[Any], Any]) -> None:
        copied = plain_copy(freeze(NESTED))
        copied["list"][2]["a"]["new"] = copied["object"]["b"]
        copied["object"]["b"].append(3)
        assert copied == {"list": [1, [2.5], {"a": {"new": [3]}}], "object": {"b": [3]}}

    @pytest.mark.parametrize(
        "plain_copy",
        [copy.copy, lambda data: data.copy(), lambda data: {**data}, lambda data: data | {}, lambda data: {} | data],
    )
    @pytest.mark.parametrize("data", [FLAT, NESTED])
    def test_gives_a_plain_object(self, data: Any, plain_copy: Callable[[Any], Any]) -> None:
        assert type(plain_copy(freeze(data))) is dict

    @pytest.mark.parametrize(
        "plain_copy",
        [copy.copy, lambda data: data.copy(), lambda data: [*data], lambda data: data * 1, lambda data: data[:]],
    )
    def test_gives_a_plain_array(self, plain_copy: Callable[[Any], Any]) -> None:
        assert type(plain_copy(freeze([1]))) is list

    def test_is_only_made_by_freezing(self) -> None:
        made_object, made_array = type(freeze(NESTED))(FLAT), type(freeze([1]))([[]])
        assert type(made_object) is dict and type(made_array) is list
        assert type(FrozenDict(FLAT)) is dict and type(FrozenList([1])) is list


class TestFreezing:
    def test_copies_nothing_that_is_frozen(self) -> None:
        frozen = freeze(NESTED)
        assert freeze(frozen) is frozen
        assert freeze({"a": frozen})["a"] is frozen

    def test_leaves_what_it_is_given_as_it_is(self) -> None:
        given = {"list": [1]}
        freeze(given)
        given["list"].append(2)
        assert given == {"list": [1, 2]}

    def test_makes_arrays_of_tuples_as_storing_does(self) -> None:
        assert freeze({"pair": (1, (2,))}) == {"pair": [1, [2]]}

    def test_makes_an_object_of_any_mapping(self) -> None:
        assert type(freeze(MappingProxyType({"a": 1}))) is FrozenDict

    def test_leaves_what_is_not_json(self) -> None:
        found = freeze({"set": {1}, "type": int, 3: []})
        assert found == {"set": {1}, "type": int, 3: []}
        with pytest.raises(TypeError):
            found[3].append(1)

    def test_ends_at_data_that_contains_itself(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        assert not is_json(freeze(endless))

    @given(any_data)
    def test_makes_json_of_json_only(self, data: Any) -> None:
        assert is_json(freeze(data)) == is_json(data)

    @pytest.mark.parametrize("levels", [1, 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
    def test_knows_how_deep_it_is(self, levels: int) -> None:
        frozen = freeze(deep(levels))
        assert is_json(frozen, levels) == is_json(deep(levels), levels)
        assert not is_json(frozen, levels - 1)
        for wrapped in (
            freeze({"a": frozen}),
            with_changes(freeze({}), {"a": frozen}),
        ):
            assert is_json(wrapped) == (levels < MAX_DEPTH)
            assert (write_object(wrapped) is None) == (levels >= MAX_DEPTH)

    @given(st.dictionaries(st.text(max_size=2), any_data), st.dictionaries(st.text(max_size=2), any_data))
    def test_of_changes_is_that_of_the_whole(self, data: dict[str, Any], changes: dict[str, Any]) -> None:
        expected = freeze({**data, **changes})
        found = with_changes(freeze(data), changes)
        assert repr(found) == repr(expected)
        assert is_json(found) == is_json(expected)
