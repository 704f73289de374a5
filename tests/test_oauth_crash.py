"""Killed at every step, cancelled at every await, without Prefect at any step: no grant dies unreported."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from blocks import points
from blocks.errors import LockstepError, Unavailable
from blocks.oauth import AnswerLost, journal
from blocks.oauth.pairs import Held, Pair
from blocks.oauth.people import adopt, revoke
from blocks.oauth.refresh import renew
from chaos.cancel import cancelled
from tests.grants import Desk, desk, prefect, provider, refreshing, rotating, store_url, when
from tests.mirrors import Death, Killed

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "when"]

POINTS = (
    "before load token", "after load token", "before publish token", "after publish token", "before commit grant pair",
    "after commit grant pair", "before commit grant note", "after commit grant note", "before redeem", "after redeem",
)  # fmt: skip
LOST = ("after redeem", "before commit grant pair")
"""Where the new pair is in a dying process's memory alone."""


async def used(desk: Desk) -> None:
    """One refresh is behind it, and the next is due."""
    await desk.renew()
    desk.time.go(3600)


async def judged(desk: Desk, before: int, *, may_be_lost: bool) -> Held:
    """The next process gets a token, or is told that the answer was lost; no token was presented without its note."""
    presented = desk.provider.presented
    try:
        held = await desk.renew()
        assert desk.provider.families[-1].alive
    except AnswerLost:
        assert may_be_lost
        held = (await desk.row()).held
    assert held == await desk.agree()
    # Twice at most, and the second time only after a note: `test_oauth_refresh.py` looks at that.
    assert all(presented.count(one) <= 2 for one in presented[before:])
    return held


@pytest.mark.parametrize("first", [True, False], ids=["first", "next"])
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_every_step(rotating: Desk, point: str, *, first: bool) -> None:
    if not first:
        await used(rotating)
    before = len(rotating.provider.presented)
    points.watch(Death(point))
    try:
        with pytest.raises(Killed):
            await rotating.renew()
    finally:
        points.watch(None)
    await judged(rotating, before, may_be_lost=point in LOST)


@pytest.mark.slow
async def test_cancelled_at_every_await(rotating: Desk) -> None:
    """Here the refresh itself is cancelled, as when its loop is shut down; who merely waits for it is never."""
    total, _ = await cancelled(rotating.renew, None)
    assert total > 20
    lost = 0
    for at in range(total + 5):
        if (await rotating.row()).held.state != "granted":
            rotating.grant = refreshing(rotating.provider, rotating.provider.grant())
        rotating.time.go(3600)
        before = len(rotating.provider.presented)
        await cancelled(rotating.renew, at)
        lost += (await judged(rotating, before, may_be_lost=True)).state == "lost"
    # Only while the answer was on its way; once it is here it is kept.
    assert lost <= total / 4


async def test_what_is_cancelled_when_the_answer_is_here_is_kept_all_the_same(rotating: Desk) -> None:
    def reached(point: str) -> None:
        task = asyncio.current_task()
        if point == "after redeem" and task is not None:
            task.cancel()

    points.watch(reached)
    try:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(rotating.renew())
    finally:
        points.watch(None)
    assert (await rotating.row()).held.state == "granted"
    await judged(rotating, 0, may_be_lost=False)
    assert len(rotating.provider.presented) == 1


@pytest.mark.parametrize("point", POINTS)
async def test_prefect_goes_away_at_every_step(rotating: Desk, point: str) -> None:
    await used(rotating)

    def reached(name: str) -> None:
        rotating.prefect.away |= name == point

    points.watch(reached)
    held: Held | None = None
    try:
        with contextlib.suppress(Unavailable):
            held = await rotating.renew()
    finally:
        points.watch(None)
    known = held and held.pair
    if rotating.provider.calls["token"] == 1:
        assert held is None
    rotating.prefect.away = False
    again = await judged(rotating, 1, may_be_lost=False)
    assert again.state == "granted"
    assert known is None or again.pair == known
    assert rotating.provider.calls["token"] == 2
    assert rotating.time.slept == []


async def test_the_store_goes_away_with_the_answer_and_the_document_has_it(
    rotating: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(rotating)
    whole = journal.record

    async def broken(*_: Any) -> None:
        raise OperationalError("INSERT", {}, OSError("disk"))

    monkeypatch.setattr(journal, "record", broken)
    held = await rotating.renew()
    monkeypatch.setattr(journal, "record", whole)
    assert (await rotating.row()).held != held
    assert (await rotating.row()).note is not None
    assert await rotating.renew() == held
    assert await rotating.agree() == held
    assert rotating.provider.calls["token"] == 2


async def test_with_both_places_away_the_process_that_has_the_pair_repairs_them(
    rotating: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rotating.source()
    await source.token()
    rotating.time.go(3600)
    whole = journal.record

    async def broken(*_: Any) -> None:
        rotating.prefect.away = True
        raise OperationalError("INSERT", {}, OSError("disk"))

    monkeypatch.setattr(journal, "record", broken)
    kept = (await source.token()).access
    monkeypatch.setattr(journal, "record", whole)
    rotating.prefect.away = False
    assert (await rotating.row()).held.pair.access != kept
    rotating.time.go(3600)
    await source.token()
    assert (await rotating.agree()).state == "granted"
    assert len(set(rotating.provider.presented)) == 3


@pytest.mark.parametrize("point", POINTS[2:6])
async def test_killed_while_a_person_authorises_or_revokes(rotating: Desk, point: str) -> None:
    await rotating.renew()
    pair = (await rotating.row()).held.pair
    for act in (
        lambda: adopt(rotating.database, rotating.grant, pair),
        lambda: revoke(rotating.database, rotating.grant),
    ):
        points.watch(Death(point))
        try:
            with pytest.raises(Killed):
                await act()
        finally:
            points.watch(None)
        await act()
        await rotating.agree()
    assert (await rotating.row()).held.state == "revoked"


async def test_authorising_and_revoking_race_a_refresh(rotating: Desk) -> None:
    for turn in range(10):
        rotating.grant = refreshing(rotating.provider, rotating.provider.grant())
        await rotating.renew()
        pair = (await rotating.row()).held.pair
        rotating.time.go(3600)
        refresh = renew(rotating.database, rotating.grant, clock=rotating.time.clock)
        act = (
            _authorised(rotating, pair) if turn % 2 else revoke(rotating.database, rotating.grant, rotating.time.clock)
        )
        found = await asyncio.gather(refresh, act, return_exceptions=True)
        assert all(isinstance(one, Held | str | LockstepError) for one in found), found
        held = await rotating.agree()
        assert held.state == ("granted" if turn % 2 else "revoked")


async def _authorised(desk: Desk, pair: Pair) -> str:
    await adopt(desk.database, desk.grant, pair)
    return "authorised"
