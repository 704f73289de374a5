"""Our field ↔ their key and values."""

from __future__ import annotations

from blocks.fieldmap import UNMAPPED, Field, FieldMap
from blocks.model import Fields
from blocks.rules import CustomField, ValueMap

SEVERITY = Field("severity", "urgency", {"1": "high", "2": "low", "3": "low"}, {"high": "1", "low": "2"})
TITLE = Field("title", "summary")
MAP = FieldMap((TITLE, SEVERITY))


def test_without_tables_a_value_passes_as_it_is() -> None:
    assert TITLE.our_value("x") == "x"
    assert TITLE.their_value(["x"]) == ["x"]


def test_nothing_is_nothing_on_both_sides() -> None:
    assert SEVERITY.our_value(None) is None
    assert SEVERITY.their_value(None) is None


def test_several_of_theirs_may_be_one_of_ours_and_one_is_written_back() -> None:
    assert (SEVERITY.our_value("2"), SEVERITY.our_value("3")) == ("low", "low")
    assert SEVERITY.their_value("low") == "2"


def test_a_value_that_is_in_no_table_is_unmapped_and_no_value_at_all() -> None:
    assert SEVERITY.our_value("9") is UNMAPPED
    assert SEVERITY.their_value("info") is UNMAPPED
    assert repr(UNMAPPED) == "UNMAPPED"


def test_a_number_is_looked_up_by_its_text() -> None:
    assert SEVERITY.our_value(1) == "high"


def test_two_values_are_the_same_if_either_table_says_so() -> None:
    assert SEVERITY.same("low", "3")
    assert SEVERITY.same("low", "2")
    assert not SEVERITY.same("high", "2")
    assert not SEVERITY.same("info", "9")


def test_a_record_is_read_and_what_is_in_no_table_is_told() -> None:
    assert MAP.to_ours({"summary": "x", "urgency": "9", "other": 1}) == ({"title": "x"}, [("severity", "9")])


def test_a_key_that_is_not_shown_is_not_ours_either() -> None:
    assert MAP.to_ours({"summary": None}) == ({"title": None}, [])


def test_what_no_row_stands_for_is_kept_beside_unless_it_is_empty() -> None:
    shown: Fields = {"summary": "x", "urgency": "1", "site": "Graz", "zero": 0, "none": None, "text": "", "list": []}
    assert MAP.unmapped(shown) == {"site": "Graz", "zero": 0}


def test_a_mirrors_own_values_go_before_the_connectors() -> None:
    row = MAP.extended([ValueMap("severity", "9", "critical"), ValueMap("severity", "3", "high")], []).rows[1]
    assert row.our_value("9") == "critical"
    assert row.their_value("critical") == "9"
    assert (row.our_value("3"), row.their_value("high")) == ("high", "3")
    assert row.our_value("1") == "high"


def test_a_value_for_a_field_without_a_row_changes_nothing() -> None:
    assert MAP.extended([ValueMap("owner", "a", "b")], []) == MAP


def test_a_value_for_a_field_without_tables_leaves_its_other_values_as_they_are() -> None:
    owners = FieldMap((Field("owner", "who"),)).extended([ValueMap("owner", "ann", "Ann")], []).rows[0]
    assert (owners.our_value("ann"), owners.their_value("Ann")) == ("Ann", "ann")
    assert (owners.our_value("zoe"), owners.their_value("zoe")) == ("zoe", "zoe")


def test_a_custom_field_becomes_a_row() -> None:
    extended = MAP.extended([], [CustomField("site", "location")])
    assert extended.to_ours({"location": "Graz"}) == ({"site": "Graz"}, [])
    assert extended.unmapped({"location": "Graz"}) == {}


def test_a_custom_field_takes_the_place_of_a_row_of_its_name() -> None:
    extended = MAP.extended([], [CustomField("title", "headline")])
    assert [(row.ours, row.theirs) for row in extended.rows] == [("title", "headline"), ("severity", "urgency")]
