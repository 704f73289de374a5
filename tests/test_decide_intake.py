"""Which records become incidents, and as what: conditions, classifier, pre-processing rules."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from blocks.model import SEVERITIES, Value
from blocks.rules import Condition, Intake, PreRule, TypeRule
from tasks.decide.intake import Record, accepts, classify, first_rule, match


def record(**ours: Value) -> Record:
    return Record(ours, {"their key": "Phishing", "who": "ann"})


# value, op, wanted → whether it passes
CONDITIONS: list[tuple[Value, str, str, bool]] = [
    ("high", "is", "high", True),
    ("HIGH", "is", "high", True),
    ("high", "is", "low", False),
    (None, "is", "high", False),
    (None, "is", "", True),
    ("", "is", "", True),
    ("high", "is", "", False),
    ("high", "is not", "low", True),
    ("high", "is not", "High", False),
    (None, "is not", "high", True),
    (None, "is not", "", False),
    ("high", "is not", "", True),
    ("Mail from a stranger", "contains", "FROM A", True),
    ("Mail from a stranger", "contains", "friend", False),
    (None, "contains", "a", False),
    (None, "is empty", "", True),
    ("", "is empty", "", True),
    ([], "is empty", "", True),
    ("x", "is empty", "", False),
    (None, "is not empty", "", False),
    ([], "is not empty", "", False),
    ("x", "is not empty", "", True),
    (0, "is not empty", "", True),
    (False, "is empty", "", False),
    (["red", "blue"], "is", "blue", True),
    (["red", "blue"], "is", "green", False),
    (["red", "blue"], "is not", "blue", False),
    (["red", "blue"], "contains", "lu", True),
    (7, "is", "7", True),
    (7, "at least", "6.5", True),
    (6, "at least", "6.5", False),
    ("10", "at least", "9", True),
    ("b", "at least", "a", True),
    ("a", "at least", "b", False),
    (None, "at least", "low", False),
]  # fmt: skip


@pytest.mark.parametrize(("value", "op", "wanted", "passes"), CONDITIONS)
def test_a_condition_compares_as_a_person_would(value: Value, op: Any, wanted: str, passes: bool) -> None:  # noqa: FBT001  a row of the table
    assert accepts(record(field=value), [Condition("field", op, wanted)]) is passes


@pytest.mark.parametrize(("one", "other"), list(product(SEVERITIES, SEVERITIES)))
def test_at_least_knows_the_order_of_severities(one: str, other: str) -> None:
    order = {"info": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}
    assert accepts(record(severity=one), [Condition("severity", "at least", other)]) is (order[one] >= order[other])


def test_no_condition_lets_everything_pass() -> None:
    assert accepts(record(), [])


def test_all_conditions_must_hold() -> None:
    both = [Condition("severity", "is", "high"), Condition("title", "contains", "mail")]
    assert accepts(record(severity="high", title="Mail"), both)
    assert not accepts(record(severity="high", title="Disk"), both)


def test_a_condition_finds_our_field_first_and_then_the_systems_key() -> None:
    assert accepts(record(), [Condition("their key", "is", "phishing")])
    assert accepts(record(who="bob"), [Condition("who", "is", "bob")])
    assert not accepts(record(who=None), [Condition("who", "is", "ann")])


def test_a_value_with_quotes_is_only_a_value() -> None:
    nasty = "x' OR '1'='1\";--"
    assert accepts(record(title=nasty), [Condition("title", "is", nasty)])
    assert not accepts(record(title="x"), [Condition("title", "is", nasty)])


def test_the_classifiers_first_line_that_fits_gives_the_type() -> None:
    intake = Intake(
        type_field="their key",
        types=[TypeRule("spam", "Spam"), TypeRule("PHISHING", "Phish"), TypeRule("phishing", "Later")],
        default_type="Other",
    )
    assert classify(record(), intake) == "Phish"


def test_what_no_line_fits_has_the_default_type() -> None:
    intake = Intake(type_field="title", types=[TypeRule("x", "X")], default_type="Other")
    assert classify(record(title="y"), intake) == "Other"
    assert classify(record(), intake) == "Other"
    assert classify(record(), Intake(default_type="Plain")) == "Plain"


def test_the_classifier_looks_at_each_of_several_values() -> None:
    assert classify(record(labels=["a", "b"]), Intake(type_field="labels", types=[TypeRule("B", "bee")])) == "bee"


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        PreRule([Condition("severity", "is", "low")], "drop"),
        PreRule([Condition("title", "contains", "mail")], "relate"),
        PreRule([], "drop and update"),
    ]
    assert first_rule(record(severity="low", title="mail"), rules) is rules[0]
    assert first_rule(record(severity="high", title="mail"), rules) is rules[1]
    assert first_rule(record(severity="high", title="disk"), rules) is rules[2]
    assert first_rule(record(severity="high"), rules[:2]) is None


SAME = PreRule([], "relate", ["title", "owner"])


def test_the_oldest_open_incident_that_is_equal_in_all_fields_is_meant() -> None:
    open_ones = [
        (9, {"title": "t", "owner": "o"}),
        (4, {"title": "t", "owner": "o"}),
        (2, {"title": "t", "owner": "x"}),
    ]
    assert match(record(title="t", owner="o"), SAME, open_ones) == 4


def test_an_empty_field_equals_nothing() -> None:
    nobody: list[tuple[int, dict[str, Value]]] = [(1, {"title": "t", "owner": None}), (2, {"title": "t"})]
    nothing: list[Value] = [None, "", []]
    for empty in nothing:
        assert match(record(title="t", owner=empty), SAME, nobody) is None


def test_a_rule_without_fields_means_no_incident() -> None:
    assert match(record(title="t"), PreRule([], "relate"), [(1, {"title": "t"})]) is None
