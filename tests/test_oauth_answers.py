"""What a token endpoint's answer means, as a table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from blocks.answers import About
from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable, Unreadable
from blocks.oauth import GrantEnded
from blocks.oauth.answers import LONGEST, Reply, pair_of, refusal
from blocks.oauth.pairs import SEEDS, Held, Pair, from_json, leeway, mark, newest, serves, suited
from blocks.oauth.refresh import redeemed_nothing

ABOUT: About = {"system": "toy/prod", "call": "POST /token", "id": ""}


def reply(status: int, payload: dict[str, Any] | None, kind: str = "application/json", **more: Any) -> Reply:
    return Reply(status, payload, kind, more.pop("wait", None), ABOUT, **more)


REFUSALS: list[tuple[int, dict[str, Any] | None, type[LockstepError], bool]] = [
    (400, {"error": "invalid_grant"}, GrantEnded, False),
    (200, {"error": "invalid_grant"}, GrantEnded, False),
    (200, {"ok": False, "error": "invalid_refresh_token"}, GrantEnded, False),
    (200, {"error": "bad_refresh_token"}, GrantEnded, False),
    (401, {"error": "invalid_client"}, Unauthorized, True),
    (400, {"error": "unauthorized_client"}, Unauthorized, True),
    (400, {"error": "invalid_scope"}, Misconfigured, True),
    (400, {"error": "unsupported_grant_type"}, Misconfigured, True),
    (400, {"error": {"code": "invalid_request", "message": "x"}}, Misconfigured, True),
    (503, {"error": "temporarily_unavailable"}, Unavailable, True),
    (200, {"error": "temporarily_unavailable"}, Unavailable, True),
    (429, {"error": "whatever"}, Unavailable, True),
    (429, None, Unavailable, True),
    (400, {"error": "server_error"}, Unavailable, False),
    (500, {"error": "invalid_grant"}, Unavailable, False),
    (500, None, Unavailable, False),
    (502, None, Unavailable, False),
    (400, {"error": "never_heard_of"}, Unavailable, False),
    (400, {}, Unavailable, False),
    (200, None, Unavailable, False),
    (403, None, Unavailable, False),
    (404, None, Misconfigured, True),
    (200, {"ok": False}, Unavailable, False),
]


@pytest.mark.parametrize(("status", "payload", "kind", "nothing"), REFUSALS)
def test_a_refusal_says_what_to_do_and_whether_anything_was_redeemed(
    status: int, payload: dict[str, Any] | None, kind: type[LockstepError], *, nothing: bool
) -> None:
    answer = reply(status, payload, "text/html" if payload is None else "application/json")
    error = refusal(answer)
    assert not answer.ok
    assert type(error) is kind
    assert redeemed_nothing(error) is nothing
    assert error.status == status


def test_a_refusal_shows_no_secret_that_the_vendor_repeats() -> None:
    payload = {"error": "invalid_grant", "error_description": "token s3cret-token is bad"}
    error = refusal(reply(400, payload, secrets=frozenset({"s3cret-token"})))
    assert str(error) == "toy/prod POST /token: answered 400: invalid_grant: token *** is bad"
    error = refusal(reply(500, None, "text/s3cret-token", secrets=frozenset({"s3cret-token"})))
    assert "s3cret" not in str(error)


def test_a_retry_after_is_kept() -> None:
    error = refusal(reply(429, None, wait=7.0))
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7.0


def given(before: Pair | None = None, **answer: Any) -> Pair:
    return pair_of(reply(200, {"access_token": "a1", **answer}), before, 1000.0, 600.0, 0.0)


@pytest.mark.parametrize(
    ("told", "lifetime"),
    [
        (3600, 3600.0), ("3600", 3600.0), (12.5, 12.5), (None, 600.0), (0, 600.0), (-5, 600.0), ("soon", 600.0),
        ([], 600.0), (True, 600.0), (1e300, LONGEST), ("nan", 600.0), ("inf", 600.0), (10**400, 600.0),
    ],
)  # fmt: skip
def test_a_missing_or_absurd_lifetime_is_the_vendors_usual_one(told: Any, lifetime: float) -> None:
    assert given(expires_in=told).lifetime == lifetime


def test_an_answer_without_expires_in_has_the_vendors_usual_lifetime() -> None:
    assert given().lifetime == 600.0


@pytest.mark.parametrize("access", [None, "", 7, "two words", "line\r\nbreak", "ümlaut", "a\0b", "x" * 100_000, ["a"]])
def test_a_token_that_no_header_can_carry_is_no_token(access: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        pair_of(reply(200, {"access_token": access}), None, 0.0, 600.0, 0.0)
    assert not redeemed_nothing(caught.value)


def test_a_refresh_token_stays_where_the_answer_has_none() -> None:
    before = Pair("a0", 0.0, 600.0, "r0", 5.0, 500.0)
    assert given(before).refresh == "r0"
    assert given(before).ages == 500.0
    assert given(before, refresh_token="r1").refresh == "r1"
    assert given(before, refresh_token="").refresh == "r0"
    assert given(None).refresh == ""


def test_a_refresh_token_dies_of_age_when_the_answer_or_the_vendor_says_so() -> None:
    assert given(refresh_token="r", refresh_token_expires_in=100).ages == 1100.0
    assert given(refresh_token="r").ages == 0.0
    answer = reply(200, {"access_token": "a", "refresh_token": "r"})
    assert pair_of(answer, None, 1000.0, 600.0, 15.0).ages == 1000.0 + 15 * 86400


@pytest.mark.parametrize(("lifetime", "seconds"), [(5.0, 0.5), (600.0, 60.0), (7200.0, 60.0), (1.0, 0.1)])
def test_the_leeway_is_a_tenth_of_a_short_life_and_a_minute_of_a_long_one(lifetime: float, seconds: float) -> None:
    assert leeway(lifetime) == seconds


@pytest.mark.parametrize("now", [-1e9, 0.0, 999.0])
def test_a_clock_that_went_back_makes_no_token_live_longer(now: float) -> None:
    assert Pair("a", 1000.0, 600.0).left(now) == 600.0


def test_the_higher_generation_counts_and_the_store_where_they_are_equal() -> None:
    row, document = Held(3, "granted", "x"), Held(4, "granted", "x")
    assert newest(row, document) is document
    assert newest(document, row) is document
    same = Held(3, "lost", "x")
    assert newest(row, same) is row
    assert newest(None, None) == Held()


def test_what_is_typed_anew_begins_a_grant_and_other_settings_end_one() -> None:
    held = Held(3, "lost", "x", mark("old"))
    assert suited(held, "x", mark("old"), "old") is held
    assert suited(held, "x", mark("new"), "new") == Held(
        3, "granted", "x", mark("new"), Pair(refresh="new"), (mark("old"),)
    )
    granted = Held(3, "granted", "x", "", Pair("a", 0, 9))
    assert suited(granted, "y", "").pair is None
    assert suited(granted, "x", "") is granted


def test_a_seed_that_was_there_before_begins_nothing() -> None:
    first = suited(Held(3, "ended", "x", "a"), "x", "b", "token b")
    assert (first.seed, first.earlier) == ("b", ("a",))
    assert suited(first, "x", "a", "token a") is first
    second = suited(first, "x", "c", "token c")
    assert (second.seed, second.earlier) == ("c", ("b", "a"))
    assert suited(second, "x", "", "") is second


def test_no_more_seeds_are_remembered_than_so_many() -> None:
    held = Held()
    for number in range(SEEDS + 9):
        held = suited(held, "x", f"seed {number}", "token")
    assert len(held.earlier) == SEEDS
    assert held.earlier[0] == f"seed {SEEDS + 7}"


def test_what_was_revoked_is_begun_anew_by_a_new_seed_alone() -> None:
    held = Held(3, "revoked", "x", "a", None, ("older",))
    for about, seed in (("x", "a"), ("y", "a"), ("x", "older"), ("y", "older"), ("y", "")):
        assert suited(held, about, seed) is held
    assert suited(held, "y", "b").state == "new"
    assert suited(held, "y", "b", "token").state == "granted"


def test_a_token_serves_until_its_leeway_and_not_where_it_failed() -> None:
    held = Held(1, "granted", "x", "", Pair("a", 0.0, 100.0))
    assert serves(held, "", 89.0)
    assert not serves(held, "", 90.0)
    assert not serves(held, "a", 1.0)
    assert not serves(Held(1, "granted", "x"), "", 0.0)


WHOLE = Held(3, "granted", "x", "s", Pair("a", 1.0, 2.0, "r", 3.0, 4.0, "c"), ("b", "a"))


def test_what_is_kept_comes_back_as_it_was() -> None:
    assert from_json(WHOLE.to_json()) == WHOLE
    assert from_json(Held().to_json()) == Held()
    assert from_json(Held(2, "ended", "x", "s").to_json().replace(b',"earlier":[]', b"")) == Held(2, "ended", "x", "s")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"********", b"null", b"[]", b"{}", b'{"pair": null, "generation": "3"}',
        WHOLE.to_json().replace(b'"generation":3', b'"generation":1.5'),
        WHOLE.to_json().replace(b'"issued":1.0', b'"issued":"now"'),
        WHOLE.to_json().replace(b'"granted"', b'"odd"'),
        WHOLE.to_json().replace(b'"a"', b"null"),
    ],
)  # fmt: skip
def test_what_is_damaged_counts_for_nothing(text: bytes) -> None:
    assert from_json(text) is None


def test_no_repr_shows_a_secret() -> None:
    shown = repr(Pair("access", 1.0, 2.0, "refresh", cache="cache")) + repr(reply(200, {"access_token": "access"}))
    assert not any(one in shown for one in ("'access'", "'refresh'", "'cache'"))
    assert math.isclose(Pair("a", 1.0, 2.0).expires, 3.0)
