"""One refresh: under the lock, noted before, kept after; what becomes of lost answers."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from pydantic import SecretStr

from blocks import points
from blocks.errors import Misconfigured, Unauthorized, Unavailable
from blocks.oauth import AnswerLost, GrantEnded
from blocks.oauth.journal import Note, note
from blocks.oauth.pairs import mark
from blocks.oauth.refresh import ON_THE_WAY
from blocks.oauth.wire import TOTAL
from tests.fakes.faults import Kind
from tests.fakes.provider import Provider
from tests.grants import Desk, desk, prefect, provider, refreshing, rotating, store_url, when

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "when"]


def alive(provider: Provider) -> list[bool]:
    return [one.alive for one in provider.families]


async def test_the_first_token_is_fetched_and_kept_in_both_places(desk: Desk) -> None:
    held = await desk.renew()
    assert held == await desk.agree()
    assert held.pair is not None
    assert desk.provider.alive(held.pair.access)
    assert desk.provider.forms[0]["scope"] == "api:read"
    assert desk.provider.forms[0]["audience"] == "urn:api"
    assert held.generation == 1


async def test_a_token_that_serves_is_used_and_not_renewed(desk: Desk) -> None:
    assert await desk.renew() == await desk.renew()
    assert desk.provider.calls["token"] == 1


async def test_a_rotating_grant_goes_on_from_pair_to_pair(rotating: Desk) -> None:
    for turn in range(1, 6):
        held = await rotating.renew()
        assert (held.generation, held.state) == (turn, "granted")
        rotating.time.go(3600)
    assert alive(rotating.provider) == [True]
    assert len(set(rotating.provider.presented)) == 5
    assert (await rotating.row()).note is None


async def test_a_note_names_the_token_before_it_is_presented(rotating: Desk) -> None:
    seen: list[str] = []

    def reached(point: str) -> None:
        if point == "before redeem":
            with sqlite3.connect(str(rotating.database.url.database)) as other:
                seen.extend(row[0] for row in other.execute("SELECT noted FROM oauth_grant"))

    points.watch(reached)
    try:
        await rotating.renew()
    finally:
        points.watch(None)
    assert seen == [mark(rotating.provider.presented[0])]
    assert (await rotating.row()).note is None


async def test_many_who_want_a_token_at_once_cause_one_refresh(rotating: Desk) -> None:
    found = await asyncio.gather(*(rotating.renew() for _ in range(12)))
    assert len({one.pair.access for one in found if one.pair}) == 1
    assert rotating.provider.calls["token"] == 1


@pytest.mark.parametrize("kind", ["refuse", "busy", "limit"])
async def test_what_surely_redeemed_nothing_clears_its_note(rotating: Desk, kind: Kind) -> None:
    if kind == "refuse":
        good = rotating.grant
        rotating.grant = refreshing(Provider(), rotating.grant.typed)
        rotating.grant.address = "http://127.0.0.1:1"
        with pytest.raises(Unavailable) as caught:
            await rotating.renew()
        rotating.grant = good
    else:
        rotating.provider.faults.plan(kind)
        with pytest.raises(Unavailable) as caught:
            await rotating.renew()
    assert not caught.value.sent
    assert (await rotating.row()).note is None
    assert (await rotating.renew()).state == "granted"
    assert rotating.time.slept == []


@pytest.mark.parametrize("kind", ["drop", "fail"])
async def test_a_doubtful_failure_keeps_its_note_and_the_next_one_waits_and_tries_once(
    rotating: Desk, kind: Kind
) -> None:
    rotating.provider.faults.plan(kind)
    with pytest.raises(Unavailable) as caught:
        await rotating.renew()
    assert caught.value.sent
    rotating.time.go(2)
    # It was not applied: the token still works.
    assert (await rotating.renew()).state == "granted"
    assert rotating.time.slept == [pytest.approx(TOTAL + ON_THE_WAY - 2, abs=1)]
    assert alive(rotating.provider) == [True]


@pytest.mark.parametrize("kind", ["lose", "fail after"])
async def test_a_lost_answer_is_told_from_a_revoked_grant(rotating: Desk, kind: Kind) -> None:
    rotating.provider.faults.plan(kind)
    with pytest.raises(Unavailable):
        await rotating.renew()
    with pytest.raises(AnswerLost, match="nobody revoked it: type a new refresh token"):
        await rotating.renew()
    held = await rotating.agree()
    assert (held.state, held.pair) == ("lost", None)
    with pytest.raises(AnswerLost):
        await rotating.renew()
    # Once when it was lost, once to try: never again.
    assert len(rotating.provider.presented) == 2


async def test_a_revoked_grant_says_so_and_is_presented_no_more(rotating: Desk) -> None:
    await rotating.renew()
    rotating.provider.families[0].alive = False
    rotating.time.go(3600)
    for _ in range(3):
        with pytest.raises(GrantEnded, match="revoked there, or is too old"):
            await rotating.renew()
    assert (await rotating.agree()).state == "ended"
    assert len(rotating.provider.presented) == 2


async def test_a_newly_typed_refresh_token_begins_anew(rotating: Desk) -> None:
    await rotating.renew()
    rotating.provider.families[0].alive = False
    rotating.time.go(3600)
    with pytest.raises(GrantEnded):
        await rotating.renew()
    rotating.grant = refreshing(rotating.provider, rotating.provider.grant())
    held = await rotating.renew()
    assert (held.state, held.generation) == ("granted", 3)
    rotating.time.go(3600)
    assert (await rotating.renew()).generation == 4


async def test_an_older_doubt_outlives_a_failure_that_redeemed_nothing(rotating: Desk) -> None:
    rotating.provider.faults.plan("lose")
    with pytest.raises(Unavailable):
        await rotating.renew()
    rotating.provider.faults.plan("limit")
    with pytest.raises(Unavailable):
        await rotating.renew()
    assert (await rotating.row()).note is not None
    with pytest.raises(AnswerLost):
        await rotating.renew()


async def test_a_note_of_another_token_is_no_doubt_about_this_one(rotating: Desk) -> None:
    await rotating.renew()
    await note(rotating.database, rotating.grant.grant_name, Note(mark("another"), rotating.time.wall + 20))
    rotating.time.go(3600)
    await rotating.renew()
    assert rotating.time.slept == []


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_a_clock_that_jumps_makes_nobody_wait_for_a_day(rotating: Desk, jump: float) -> None:
    rotating.provider.faults.plan("drop")
    with pytest.raises(Unavailable):
        await rotating.renew()
    rotating.time.wall += jump
    assert (await rotating.renew()).state == "granted"
    assert sum(rotating.time.slept) <= TOTAL + ON_THE_WAY


async def test_a_refresh_token_that_the_vendor_keeps_is_kept(rotating: Desk) -> None:
    rotating.provider.rotates = False
    first = await rotating.renew()
    rotating.time.go(3600)
    second = await rotating.renew()
    assert first.pair is not None
    assert second.pair is not None
    assert first.pair.refresh == second.pair.refresh == rotating.provider.families[0].current


async def test_a_wrong_secret_is_said_and_the_grant_lives_on(rotating: Desk) -> None:
    right = rotating.grant
    rotating.grant = rotating.grant.model_copy(update={"client_secret": SecretStr("wrong")})
    with pytest.raises(Unauthorized, match="invalid_client") as caught:
        await rotating.renew()
    assert not isinstance(caught.value, GrantEnded)
    rotating.grant = right
    assert (await rotating.renew()).state == "granted"
    assert rotating.time.slept == []


async def test_another_client_has_another_grant(rotating: Desk) -> None:
    await rotating.renew()
    other = rotating.grant.model_copy(update={"client_id": "another"})
    rotating.grant = other
    with pytest.raises(GrantEnded, match="another client's: type a new refresh token"):
        await rotating.renew()
    assert len(rotating.provider.presented) == 1


async def test_another_address_or_scope_has_another_token(desk: Desk) -> None:
    await desk.renew()
    desk.grant = desk.grant.model_copy(update={"address": f"{desk.provider.url}/"})
    await desk.renew()
    assert desk.provider.calls["token"] == 2


async def test_a_block_that_was_not_saved_has_no_place_for_tokens(desk: Desk) -> None:
    desk.grant._block_document_name = None
    with pytest.raises(Misconfigured, match="save the block under a name first"):
        await desk.renew()
