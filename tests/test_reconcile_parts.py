"""The parts of a reconcile: what differs and why, a set of bits, bounded findings, and its report."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.fieldmap import Field
from blocks.model import Value
from blocks.rules import Direction, Policy
from tasks.decide.merge import NEVER, Sides, Way, merge
from tasks.decide.reconcile import differences, missed
from tasks.mirroring.facts import Facts
from tasks.mirroring.findings import KINDS, LISTED, Findings, Found
from tasks.mirroring.mirror import Tally
from tasks.mirroring.reconciling import Bits
from tasks.reconcile_report import HEAD, reconcile_report, words_of
from tests.fakes.toy import Toy, World
from tests.reading import bare

COARSE = timedelta(seconds=1)
OWNER = Field("owner", "who")
LEVEL = Field("severity", "level", {"p1": "high"}, {"high": "p1"})
TOY = Toy.of(World(), "toy")
EVIL = "a|b `c` <img src=x> [l](http://127.0.0.1/evil) https://example.org\n# head"
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def why(direction: Direction, policy: Policy, ours: Value, theirs: Value, bases: tuple[object, object]) -> str | None:
    sides = Sides({"owner": ours}, {"owner": bases[0]}, {"who": theirs}, {"who": bases[1]})
    found = [one.why for one in differences(sides, (Way(OWNER, direction, policy),), COARSE)]
    return found[0] if found else None


CASES = list(product(get_args(Direction), get_args(Policy), (False, True), (False, True)))


@pytest.mark.parametrize(("direction", "policy", "store_left", "system_left"), CASES)
def test_each_difference_has_its_reason(
    direction: Direction,
    policy: Policy,
    store_left: bool,  # noqa: FBT001  a row of the table
    system_left: bool,  # noqa: FBT001  a row of the table
) -> None:
    bases = ("before" if store_left else "ours", "before" if system_left else "theirs")
    closed = {"in": store_left and not system_left, "out": system_left and not store_left}.get(direction, False)
    expected = "drift" if not store_left and not system_left else "closed side" if closed else "rules"
    assert why(direction, policy, "ours", "theirs", bases) == (None if direction == "off" else expected)
    assert why(direction, policy, "same", "same", bases) is None


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_what_never_agreed_stays_drift_until_it_is_mended(direction: Direction) -> None:
    assert why(direction, "newest", "ours", "theirs", (NEVER, NEVER)) == "drift"


def test_what_is_in_no_map_or_newly_mapped_is_no_difference() -> None:
    table = (Way(LEVEL, "both", "newest"),)
    unmapped = Sides({"severity": "low"}, {"severity": "low"}, {"level": "p9"}, {"level": "p9"})
    new = Sides({"severity": "high"}, {}, {"level": "p2"}, {"level": "p2"})
    assert not [*differences(unmapped, table, COARSE), *differences(new, table, COARSE)]


VALUES = st.sampled_from([None, "", "a", "b"])


@given(VALUES, VALUES, st.sampled_from(["both", "in", "out"]), st.sampled_from(["newest", "store", "system"]))
def test_a_drifted_field_is_written_to_one_side_and_an_empty_one_wipes_nothing_in_doubt(
    ours: Value, theirs: Value, direction: Direction, policy: Policy
) -> None:
    sides = Sides({"owner": ours}, {"owner": NEVER}, {"who": theirs}, {"who": NEVER})
    merged = merge(sides, (Way(OWNER, direction, policy),), COARSE)
    if ours == theirs:
        assert merged.agreed == [OWNER]
        return
    assert bool(merged.to_store) != bool(merged.patch)
    assert merged.drifted == {"owner"}
    if direction == "both" and policy == "newest" and bool(ours) != bool(theirs):
        assert (merged.to_store.get("owner") or merged.patch.get("who")) == (ours or theirs)


@pytest.mark.parametrize(("read", "expected"), [(None, False), (9, False), (10, False), (11, True)])
def test_a_change_was_missed_if_the_feed_was_read_later_than_it_may_lag(read: int | None, *, expected: bool) -> None:
    at = None if read is None else NOON + timedelta(seconds=read)
    assert missed(NOON, at, timedelta(seconds=10)) is expected


@given(st.sets(st.integers(0, 5000)), st.integers(0, 6000))
def test_bits_are_a_set_of_numbers(numbers: set[int], asked: int) -> None:
    bits = Bits()
    bits.add(numbers)
    assert (asked in bits) == (asked in numbers)
    assert all(number in bits for number in numbers)


def test_a_hundred_thousand_links_are_a_few_kilobytes() -> None:
    bits = Bits()
    bits.add(range(100_000))
    assert len(bits._bits) == 12_500


def test_findings_are_counted_and_the_first_are_kept() -> None:
    findings = Findings()
    for number in range(3):
        findings.add(Found("drift", n, str(n)) for n in range(number * 40, number * 40 + 40))
    findings.add([Found("twin", 1, "1")])
    assert findings.counts == Counter(drift=120, twin=1)
    assert [one.incident_id for one in findings.listed["drift"]] == list(range(LISTED))
    findings.forget(["drift"])
    assert (findings.counts, list(findings.listed)) == (Counter(twin=1), ["twin"])


def test_a_report_counts_all_and_lists_the_first_with_both_sides() -> None:
    findings = Findings()
    findings.add(Found("drift", n, str(n), field="owner", store="ours", system="theirs") for n in range(60))
    report = reconcile_report("prod", TOY, findings, Tally(Counter(read=1200)), Facts(), dry=True)
    assert "1,200 records read: 60 drift" in report
    assert f"The first {LISTED} of 60." in report
    assert "| 7 | [7](http://127.0.0.1/toy/7) | owner | ours | theirs |" in report
    assert report.count("](http://127.0.0.1/toy/") == LISTED


@pytest.mark.parametrize("kind", KINDS)
def test_what_came_from_outside_stays_text(kind: str) -> None:
    findings = Findings()
    findings.add([Found(kind, 7, EVIL, EVIL, EVIL, EVIL, EVIL)])
    report = reconcile_report(EVIL, TOY, findings, Tally(), Facts(), dry=False)
    assert not re.search(r"^# head", report, re.MULTILINE)
    outside = re.sub(r"\]\(http://127\.0\.0\.1/toy/[^)\s]*\)", "", bare(report)).replace("<br>", "")
    assert not re.search(r"https?://|<|`", outside)
    (row,) = [line for line in report.splitlines() if line.startswith("| 7 |")]
    assert bare(row).count("|") == len(HEAD) + 1


def test_where_nothing_is_found_it_says_so() -> None:
    assert words_of(Findings(), Tally(Counter(read=3))) == "3 records read: both sides are as they should be"
