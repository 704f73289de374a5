"""Reports and signals are made of facts by pure functions."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.errors import LockstepError, Misconfigured, Refused, Unauthorized, Unavailable, Unreadable
from blocks.model import Finding, Report
from tasks.mirroring.facts import CHANGES, PLANNED, Facts
from tasks.mirroring.mirror import Tally
from tasks.mirroring.sample import Outcome, Sample
from tasks.reports import DONE, check_report, cycle_report, did_something, key_of, sample_report, summary
from tasks.signals import named, of_cycle, of_failure, of_incidents
from tests.fakes.toy import Toy, World
from tests.flowing import documented
from tests.reading import bare, read

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
EVIL = "a|b `c` <img src=x> [l](http://127.0.0.1/evil) https://example.org\n# head"
TOY = Toy.of(World(), "toy")


def tally(**counts: int) -> Tally:
    return Tally(Counter({name.replace("_", " "): count for name, count in counts.items()}))


def change(**more: Any) -> dict[str, Any]:
    row = {"incident_id": 7, "remote_id": "12", "title": "T", "action": "edited", "changes": {"title": ["a", "b"]}}
    return {**row, **more}


def line(**more: Any) -> dict[str, Any]:
    row = {"incident_id": 7, "remote_id": "12", "title": "T", "verb": "update", "patch": {"level": "p1"}}
    return {**row, "before": {"level": "p3"}, **more}


def plan(state: str) -> dict[str, Any]:
    return {"id": 3, "state": state, "reason": "9 closes planned, limit 5", "deadline": NOW}


def rows(report: str) -> list[str]:
    return [row for row in report.splitlines() if row.startswith("|")]


def test_a_report_counts_what_was_done_and_draws_it() -> None:
    report = cycle_report("prod", TOY, tally(created_in_the_store=3, updated_in_the_system=2, pages=9), Facts())
    assert "| created in the store | 3 |" in report
    assert '    "updated in the system" : 2' in report
    assert "pages" not in report


def test_a_change_is_shown_with_both_sides() -> None:
    report = cycle_report("prod", TOY, tally(), Facts([change()]))
    assert rows(report)[-1] == "| 7 | [12](http://127.0.0.1/toy/12) | T | changed in the store | title: a → b |"


def test_a_report_has_the_first_changes_and_says_that_there_may_be_more() -> None:
    report = cycle_report("prod", TOY, tally(), Facts([change()] * CHANGES))
    assert f"The first {CHANGES} changes" in report


@pytest.mark.parametrize(
    "facts",
    [
        Facts([change(title=EVIL, changes={EVIL: [EVIL, EVIL]}, action=EVIL)]),
        Facts(
            conflicts=[
                {
                    "incident_id": 7,
                    "remote_id": EVIL,
                    "field": EVIL,
                    "store_value": EVIL,
                    "system_value": EVIL,
                    "since": NOW,
                }
            ]
        ),
        Facts(
            parked=[{"id": 1, "kind": "record", "incident_id": None, "remote_id": EVIL, "error": EVIL, "created": NOW}]
        ),
        Facts(
            plan=plan("held"), lines=[line(title=EVIL, patch={EVIL: EVIL}, before={EVIL: EVIL})], kinds=Counter(close=9)
        ),
    ],
    ids=["changes", "conflicts", "parked", "plan"],
)
def test_what_came_from_outside_stays_text(facts: Facts) -> None:
    count = tally()
    count.notes.append(EVIL)
    report = cycle_report(EVIL, TOY, count, facts)
    outside = re.sub(r"\]\(http://127\.0\.0\.1/toy/[^)\s]*\)", "", bare(report)).replace("<br>", "")
    assert not re.search(r"https?://|<|`", outside)
    assert not re.search(r"^# head", report, re.MULTILINE)
    widths = {bare(row).count("|") for row in rows(report) if "head" in row}
    assert len(widths) == 1


def test_a_held_plan_says_why_how_many_and_what_to_do() -> None:
    report = cycle_report("prod", TOY, tally(), Facts(plan=plan("held"), lines=[line()], kinds=Counter(close=9)))
    assert "## Plan 3 waits for a person" in report
    assert "9 closes planned, limit 5" in read(report)
    assert "**approve_or_reject** with plan 3, before 2026-11-24 12:30 UTC" in report
    assert "| close | 9 |" in report
    assert "level: p3 → p1" in read(report)


def test_a_dry_run_shows_its_first_lines_and_how_many_there_are() -> None:
    facts = Facts(plan=plan("dry run"), lines=[line()] * PLANNED, kinds=Counter(update=1234))
    report = cycle_report("prod", TOY, tally(), facts)
    assert "1,234 writes are due. Nothing was sent." in report
    assert f"The first {PLANNED} of 1,234." in report


def test_what_waits_says_how_to_end_it() -> None:
    parked = {"id": 5, "kind": "update", "incident_id": 7, "remote_id": "12", "error": "no", "created": NOW}
    conflict = {"incident_id": 7, "remote_id": "12", "field": "title", "store_value": "a", "system_value": "b"}
    facts = Facts(conflicts=[{**conflict, "since": NOW}], parked=[parked], waiting=Counter(conflicts=1, parked=1))
    report = cycle_report("prod", TOY, tally(), facts)
    assert "**resolve_conflict**" in report
    assert "**replay_parked**" in report
    assert "| 5 | update | 7 | [12](http://127.0.0.1/toy/12) | no | 2026-11-24 12:30 UTC |" in report


def test_a_check_is_shown_line_by_line() -> None:
    report = check_report(Report("toy:x", [Finding("address", ok=True), Finding("login", ok=False, detail=EVIL)]))
    assert "| ✓ | address |" in report
    assert "| ✗ | login |" in report
    assert "<img" not in bare(report)


def test_a_sample_shows_each_record() -> None:
    found = Sample([Outcome("12", "a new incident", "phish", {"title": EVIL, "owner": None})], ["status: odd"])
    report = sample_report(TOY, found)
    assert "1 records were read, nothing was stored" in report
    assert "owner" not in report
    assert "- status: odd" in report


@pytest.mark.parametrize("what", DONE)
def test_whatever_is_counted_is_worth_a_report(what: str) -> None:
    count = Tally(Counter({what: 1}))
    assert did_something(count)
    assert summary(count) == f"1 {what}"


def test_reading_alone_is_nothing() -> None:
    count = tally(read=200, pages=1, unsettled=0, superseded=3)
    assert not did_something(count)
    assert summary(count) == "nothing to do"


@pytest.mark.parametrize(
    ("words", "key"), [("Prod / SN", "mirror-prod-sn"), ("ä", "mirror"), ("x" * 500, "mirror-" + "x" * 193)]
)
def test_a_key_is_what_prefect_takes(words: str, key: str) -> None:
    assert key_of("mirror", words) == key


def test_an_incident_has_one_signal_its_first_that_fits() -> None:
    count = Tally()
    count.add("created in the store", 1, 2)
    count.add("updated in the store", 2, 3, 4)
    count.add("closed", 4)
    count.add("entries in", 3, 5)
    assert named(count) == {1: "created", 2: "created", 4: "closed", 3: "updated", 5: "updated"}


def test_a_first_fetch_is_told_as_a_backfill() -> None:
    events = [one.event for one in of_cycle("m", "toy", tally(read=2), first_fetch=True)]
    assert events == ["lockstep.mirror.backfilled", "lockstep.mirror.finished"]


@pytest.mark.parametrize(
    ("error", "person"),
    [
        (Unauthorized("x"), True),
        (Misconfigured("x"), True),
        (Unreadable("x"), True),
        (Refused("x"), True),
        (Unavailable("x"), False),
    ],
)
def test_a_person_is_told_of_what_a_person_must_mend(error: LockstepError, person: bool) -> None:  # noqa: FBT001  a table
    events = [one.event for one in of_failure("m", "toy", error, new=True)]
    assert ("lockstep.attention.connection" in events) is person
    assert [one.event for one in of_failure("m", "toy", error, new=False)] == ["lockstep.mirror.failed"]


def test_the_documented_payloads_are_those_that_are_sent() -> None:
    row = dict.fromkeys(("title", "status", "severity", "type", "owner"), "x") | {"id": 7}
    signals = [
        *of_incidents("m", "toy", {7: "created"}, [row]),
        *of_incidents("m", "toy", {7: "updated"}, [row]),
        *of_incidents("m", "toy", {7: "closed"}, [row]),
        *of_cycle("m", "toy", tally(read=1), first_fetch=True),
        *of_failure("m", "toy", Unauthorized("x"), new=True),
    ]
    assert {one.event: set(one.payload) for one in signals} == {one.event: documented()[one.event] for one in signals}
