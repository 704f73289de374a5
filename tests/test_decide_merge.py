"""A link, field by field: what is written on which side, what waits, and where both stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from blocks.fieldmap import Field, FieldMap
from blocks.model import OVER, STATUSES, Calls, Capabilities, Fields, Value
from blocks.rules import CustomField, Rule, Rules
from tasks.decide.merge import UNSETTLED, Merge, Sides, closes, creation, merge, ways

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STATES = {"open": "new", "busy": "active", "asleep": "waiting", "done": "resolved", "shut": "closed"}
MAP = FieldMap((
    Field("title", "name"),
    Field("status", "state", STATES, {ours: theirs for theirs, ours in STATES.items()}),
    Field("severity", "level", {"1": "high", "2": "low", "3": "low"}, {"high": "1", "low": "2"}),
    Field("labels", "tags", many=True),
    Field("owner", "who", writable="at creation"),
    Field("close_reason", "why", writable="never"),
))  # fmt: skip
ABLE = Capabilities(Calls(1, 1, 0, 1, 1, 1, 1), "atomic", "native", "native", 0, 1)


def merged(
    store: Fields, seen: Fields, *, base_store: Fields | None = None, base_system: Fields | None = None,
    rules: Rules | None = None, fields: FieldMap = MAP, **more: Any,
) -> Merge:  # fmt: skip
    sides = Sides(
        store, store if base_store is None else base_store, seen, seen if base_system is None else base_system, **more
    )
    return merge(sides, ways(fields, rules or Rules(), ABLE), SECOND)


def test_a_link_that_agrees_needs_nothing() -> None:
    assert merged({"title": "x"}, {"name": "x"}) == Merge()


def test_our_edit_is_sent_with_what_it_replaces_and_what_it_carries() -> None:
    result = merged({"severity": "high"}, {"level": "3"}, base_store={"severity": "low"})
    assert (result.patch, result.before, result.ours) == ({"level": "1"}, {"level": "3"}, {"severity": "high"})
    assert not result.to_store


def test_their_edit_comes_in_as_our_value() -> None:
    result = merged({"severity": "high"}, {"level": "3"}, base_system={"level": "1"})
    assert result.to_store == {"severity": "low"}
    assert not result.patch


def test_fields_go_their_own_ways_in_one_link() -> None:
    result = merged(
        {"title": "ours", "severity": "high"}, {"name": "old", "level": "2"},
        base_store={"title": "old", "severity": "high"}, base_system={"name": "old", "level": "1"},
    )  # fmt: skip
    assert (result.patch, result.to_store) == ({"name": "ours"}, {"severity": "low"})


def test_the_same_edit_on_both_sides_writes_nothing() -> None:
    result = merged({"severity": "low"}, {"level": "3"}, base_store={"severity": "high"}, base_system={"level": "1"})
    assert [row.ours for row in result.agreed] == ["severity"]
    assert (result.patch, result.to_store, result.conflicts) == ({}, {}, {})


def test_a_value_of_theirs_that_means_the_same_writes_nothing() -> None:
    result = merged({"severity": "low"}, {"level": "3"}, base_system={"level": "2"})
    assert [row.ours for row in result.agreed] == ["severity"]
    assert (result.patch, result.to_store) == ({}, {})


def test_what_the_system_only_takes_on_by_itself_is_compared_and_never_sent() -> None:
    states = {"on": "new", "seen": "active", "well": "resolved"}
    back = {"new": "on", "active": "seen", "resolved": "well", "closed": "well"}
    fields = FieldMap((Field("status", "state", states, back, observed=frozenset({"resolved", "closed"})),))
    result = merged({"status": "closed"}, {"state": "on"}, base_store={"status": "new"}, fields=fields)
    assert (result.patch, result.unmapped, result.waits) == ({}, [("status", "closed")], False)
    result = merged({"status": "active"}, {"state": "on"}, base_store={"status": "new"}, fields=fields)
    assert result.patch == {"state": "seen"}
    result = merged(
        {"status": "closed"}, {"state": "well"},
        base_store={"status": "new"}, base_system={"state": "on"}, fields=fields,
    )  # fmt: skip
    assert ([row.ours for row in result.agreed], result.patch, result.to_store) == (["status"], {}, {})


def test_a_newly_mapped_field_agrees_where_both_stand() -> None:
    rules = Rules(custom=[CustomField("site", "location")])
    fields = MAP.extended([], rules.custom)
    result = merged(
        {"site": "Graz"},
        {"location": "Linz"},
        base_store={},
        base_system={"location": "Linz"},
        rules=rules,
        fields=fields,
    )
    assert [row.ours for row in result.agreed] == ["site"]
    assert (result.patch, result.to_store) == ({}, {})


def test_a_field_that_the_system_does_not_show_is_left_alone() -> None:
    assert merged({"title": "new"}, {}, base_store={"title": "old"}) == Merge()


def test_a_value_that_no_table_has_is_told_and_left_alone() -> None:
    incoming = merged({"severity": "low"}, {"level": "9"}, base_system={"level": "2"})
    outgoing = merged({"severity": "critical"}, {"level": "2"}, base_store={"severity": "low"})
    assert (incoming.unmapped, incoming.to_store) == ([("severity", "9")], {})
    assert (outgoing.unmapped, outgoing.patch) == ([("severity", "critical")], {})


CONFLICT: dict[str, Any] = {"base_store": {"title": "old"}, "base_system": {"name": "old"}}


def test_both_edits_are_shown_to_the_person_who_is_asked() -> None:
    result = merged({"title": "ours"}, {"name": "theirs"}, rules=Rules(title=Rule("both", "ask")), **CONFLICT)
    assert result.conflicts == {"title": ("ours", "theirs")}
    assert result.waits


@pytest.mark.parametrize("policy", ["newest", "store", "system", "ask"])
def test_what_a_person_picked_goes_before_the_policy(policy: Any) -> None:
    rules = Rules(title=Rule("both", policy))
    ours = merged({"title": "ours"}, {"name": "theirs"}, rules=rules, choices={"title": "store"}, **CONFLICT)
    theirs = merged({"title": "ours"}, {"name": "theirs"}, rules=rules, choices={"title": "system"}, **CONFLICT)
    assert (ours.patch, ours.to_store) == ({"name": "ours"}, {})
    assert (theirs.patch, theirs.to_store) == ({}, {"title": "theirs"})


def test_the_newest_is_told_by_when_each_side_left() -> None:
    early, late = NOON.isoformat(), (NOON + 2 * SECOND).isoformat()
    ours = merged({"title": "ours"}, {"name": "theirs"}, changed={"title": late}, left={"title": early}, **CONFLICT)
    theirs = merged({"title": "ours"}, {"name": "theirs"}, changed={"title": early}, left={"title": late}, **CONFLICT)
    assert ours.patch == {"name": "ours"}
    assert theirs.to_store == {"title": "theirs"}


def test_a_value_that_was_refused_waits_and_another_goes() -> None:
    refused = {("system", "name"): ["bad", "worse"]}
    again = merged({"title": "bad"}, {"name": "old"}, base_store={"title": "old"}, blocked=refused)
    other = merged({"title": "good"}, {"name": "old"}, base_store={"title": "old"}, blocked=refused)
    assert (again.blocked, again.patch, again.waits) == ([("system", "name")], {}, True)
    assert (other.blocked, other.patch, other.waits) == ([], {"name": "good"}, False)


def test_a_value_of_theirs_that_the_store_cannot_hold_waits() -> None:
    result = merged(
        {"title": "old"}, {"name": "bad"}, base_system={"name": "old"}, blocked={("store", "title"): ["bad"]}
    )
    assert (result.blocked, result.to_store, result.waits) == ([("store", "title")], {}, True)


@pytest.mark.parametrize("streak", range(8))
def test_a_field_that_we_wrote_five_times_running_does_not_settle(streak: int) -> None:
    result = merged({"title": "new"}, {"name": "old"}, base_store={"title": "old"}, streak={"title": streak})
    assert UNSETTLED == 5
    assert result.patch == ({"name": "new"} if streak < 5 else {})
    assert result.unsettled == ({} if streak < 5 else {"title": "new"})
    assert result.waits is (streak >= 5)


def test_what_can_be_set_only_at_creation_or_never_does_not_go_out_later() -> None:
    result = merged(
        {"owner": "ann", "close_reason": "x"}, {"who": "bob", "why": "y"},
        base_store={"owner": "bob", "close_reason": "y"},
    )  # fmt: skip
    assert result == Merge()


def test_a_new_incident_carries_what_travels_out_and_what_can_be_set_only_now() -> None:
    store: dict[str, Value] = {
        "title": "x", "status": "active", "severity": "critical", "labels": [], "owner": "ann", "close_reason": "y",
    }  # fmt: skip
    rules = Rules(owner=Rule("in"))
    assert creation(store, ways(MAP, rules, ABLE)) == (
        {"name": "x", "state": "busy", "who": "ann"},
        {"title": "x", "status": "active", "owner": "ann"},
    )


def test_a_new_incident_carries_nothing_that_may_not_travel_out() -> None:
    assert creation({"title": "x", "severity": "high"}, ways(MAP, Rules(title=Rule("in")), ABLE)) == (
        {"level": "1"},
        {"severity": "high"},
    )


def test_a_custom_fields_own_rule_goes_before_the_forms() -> None:
    rules = Rules(title=Rule("in", "store"), custom=[CustomField("title", "name", Rule("out", "ask"))])
    way = next(way for way in ways(MAP, rules, ABLE) if way.row.ours == "title")
    assert (way.direction, way.policy) == ("out", "ask")


@pytest.mark.parametrize(("before", "after"), list(product(STATUSES, STATUSES)))
def test_an_incident_is_closed_by_going_from_open_to_over(before: str, after: str) -> None:
    table = ways(MAP, Rules(), ABLE)
    back = {ours: theirs for theirs, ours in STATES.items()}
    wanted = before in {"new", "active", "waiting"} and after in {"resolved", "closed"}
    assert frozenset({"resolved", "closed"}) == OVER
    assert closes(table, {"status": before}, {"status": after}, theirs=False) is wanted
    assert closes(table, {"state": back[before]}, {"state": back[after]}, theirs=True) is wanted


def test_a_patch_without_status_closes_nothing() -> None:
    assert not closes(ways(MAP, Rules(), ABLE), {"status": "new"}, {"title": "closed"}, theirs=False)


def test_without_a_row_for_the_status_our_own_name_stands_for_it() -> None:
    table = ways(FieldMap((Field("title", "name"),)), Rules(), ABLE)
    assert closes(table, {"status": "new"}, {"status": "closed"}, theirs=False)
