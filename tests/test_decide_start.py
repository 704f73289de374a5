"""Where a link that a person makes begins: what the first merge does with its bases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.fieldmap import Field
from blocks.model import Value
from blocks.rules import Policy
from tasks.decide.merge import Merge, Sides, Way, merge
from tasks.decide.start import Before, Begin, Start, apart, begin

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, COARSE = timedelta(hours=1), timedelta(seconds=1)
LEVELS = {"p1": "critical", "p2": "high"}
TITLE, OWNER = Field("title", "name"), Field("owner", "who")
SEVERITY = Field("severity", "level", LEVELS, {ours: theirs for theirs, ours in LEVELS.items()})
ROWS = (TITLE, OWNER, SEVERITY)
values = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.booleans(), st.lists(st.text(max_size=2)))


def before(store: dict[str, Value], seen: dict[str, Value], *, updated: datetime = NOON, **changed: datetime) -> Before:
    return Before(store, seen, {name: at.isoformat() for name, at in changed.items()}, NOON, updated)


def first_merge(one: Before, bases: Begin, rows: tuple[Field, ...] = ROWS, policy: Policy = "newest") -> Merge:
    left = {row.ours: one.updated.isoformat() for row in rows}
    sides = Sides(one.store, bases.base_store, one.seen, bases.base_system, one.changed, left)
    return merge(sides, tuple(Way(row, "both", policy) for row in rows), COARSE)


@given(values)
def test_a_base_apart_differs_from_its_value(value: Value) -> None:
    assert apart(value) != value


@given(values, values, st.sampled_from(get_args(Policy)))
def test_the_stores_values_go_to_the_system_whatever_the_policy(ours: Value, theirs: Value, policy: Policy) -> None:
    one = before({"title": ours}, {"name": theirs})
    merged = first_merge(one, begin("store", one, ROWS, ["title"], COARSE), policy=policy)
    assert (merged.to_store, merged.conflicts) == ({}, {})
    assert merged.patch == ({} if ours == theirs else {"name": ours})


@given(values, values, st.sampled_from(get_args(Policy)))
def test_the_systems_values_come_to_the_store_whatever_the_policy(ours: Value, theirs: Value, policy: Policy) -> None:
    one = before({"title": ours}, {"name": theirs})
    merged = first_merge(one, begin("system", one, ROWS, ["title"], COARSE), policy=policy)
    assert (merged.patch, merged.conflicts) == ({}, {})
    assert merged.to_store == ({} if ours == theirs else {"title": theirs})


@pytest.mark.parametrize(
    ("edited", "updated", "winner"),
    [
        (None, NOON + HOUR, "system"),
        (None, NOON - HOUR, "store"),
        (NOON, NOON + HOUR, "system"),
        (NOON + HOUR, NOON, "store"),
        (NOON, NOON + COARSE, "store"),
        (NOON, NOON + 2 * COARSE, "system"),
    ],
)
@pytest.mark.parametrize("policy", get_args(Policy))
def test_of_two_values_the_later_one_stands_and_in_doubt_the_stores(
    edited: datetime | None, updated: datetime, winner: str, policy: Policy
) -> None:
    changed = {"title": edited} if edited else {}
    one = before({"title": "ours"}, {"name": "theirs"}, updated=updated, **changed)
    bases = begin("newest", one, ROWS, ["title"], COARSE)
    merged = first_merge(one, bases, policy=policy)
    assert merged.to_store == ({"title": "theirs"} if winner == "system" else {})
    assert merged.patch == ({"name": "ours"} if winner == "store" else {})
    assert (bases.inward, bases.outward) == ((["title"], []) if winner == "system" else ([], ["title"]))


@pytest.mark.parametrize("empty", [None, "", []])
@pytest.mark.parametrize("updated", [NOON - HOUR, NOON + HOUR])
def test_a_value_goes_before_an_empty_field_under_newest(empty: Value, updated: datetime) -> None:
    one = before({"title": empty, "owner": "ann"}, {"name": "theirs", "who": empty}, updated=updated)
    merged = first_merge(one, begin("newest", one, ROWS, ["title", "owner"], COARSE))
    assert (merged.to_store, merged.patch) == ({"title": "theirs"}, {"who": "ann"})


@pytest.mark.parametrize("start", get_args(Start))
def test_what_means_the_same_is_not_written(start: Start) -> None:
    one = before({"title": "same", "severity": "high"}, {"name": "same", "level": "p2"})
    bases = begin(start, one, ROWS, ["title", "severity"], COARSE)
    merged = first_merge(one, bases)
    assert (merged.to_store, merged.patch, merged.conflicts) == ({}, {}, {})
    assert {row.ours for row in merged.agreed} == {"title", "severity"}
    assert (bases.inward, bases.outward) == ([], [])


@pytest.mark.parametrize("start", get_args(Start))
def test_a_value_that_is_in_no_map_is_left_alone(start: Start) -> None:
    one = before({"severity": "unheard of"}, {"level": "p9"}, updated=NOON + HOUR)
    merged = first_merge(one, begin(start, one, ROWS, ["severity"], COARSE))
    assert (merged.to_store, merged.patch) == ({}, {})


@pytest.mark.parametrize(
    ("start", "to_store", "patch"),
    [("store", {}, {"impact": "ours"}), ("system", {"impact": "theirs"}, {}), ("newest", {"impact": "theirs"}, {})],
)
def test_a_field_that_only_the_mirror_maps_follows_too(
    start: Start, to_store: dict[str, Value], patch: dict[str, Value]
) -> None:
    """The connector's own map does not know it."""
    one = before({"impact": "ours"}, {"impact": "theirs"}, updated=NOON + HOUR, impact=NOON)
    merged = first_merge(one, begin(start, one, ROWS, ["impact"], COARSE), (Field("impact", "impact"),))
    assert (merged.to_store, merged.patch) == (to_store, patch)
