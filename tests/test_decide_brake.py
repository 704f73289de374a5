"""The brake: so many writes within a plan and the last 24 hours, and a person must agree."""

from __future__ import annotations

from itertools import product

import pytest

from blocks.rules import Limits
from tasks.decide.brake import trips

LIMITS = Limits(creates=3, closes=3, updates=3, unlinks=3, drifts=3)
COUNTED = {"create": "creates", "close": "closes", "update": "updates", "entry": "updates", "unlink": "unlinks"}
COUNTED |= {"drift": "drifts"}


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize(("planned", "done"), list(product(range(6), range(6))))
def test_a_plan_stops_when_it_and_the_last_day_are_over_the_limit(kind: str, planned: int, done: int) -> None:
    stopped = trips(LIMITS, {kind: planned}, {kind: done})
    assert bool(stopped) == (planned > 0 and planned + done > 3)


def test_it_says_how_many_of_what_and_what_is_allowed() -> None:
    assert trips(LIMITS, {"close": 2, "update": 1}, {"close": 4}) == [
        "2 closes planned, 4 done in the last 24 hours, limit 3"
    ]


def test_each_limit_that_is_passed_is_named() -> None:
    reasons = trips(LIMITS, {"create": 4, "close": 4, "update": 4, "unlink": 4, "drift": 4}, {})
    assert [reason.split()[1] for reason in reasons] == ["creates", "closes", "updates", "unlinks", "drifts"]


def test_updates_and_entries_share_their_limit() -> None:
    assert not trips(LIMITS, {"update": 1, "entry": 2}, {})
    assert trips(LIMITS, {"update": 1, "entry": 2}, {"entry": 1})


@pytest.mark.parametrize("kind", ["store", "gone", "approved"])
def test_what_only_changes_the_store_or_was_approved_is_free(kind: str) -> None:
    assert not trips(Limits(creates=0, closes=0, updates=0, unlinks=0, drifts=0), {kind: 1000}, {kind: 1000})


def test_a_limit_of_nothing_stops_the_first_write() -> None:
    assert trips(Limits(closes=0), {"close": 1}, {})


def test_what_was_done_before_stops_nothing_by_itself() -> None:
    assert not trips(LIMITS, {}, {"close": 1000})
    assert not trips(LIMITS, {"update": 1}, {"close": 1000})
