"""authorize, revoke and refresh_tokens: what they show, what they keep, and whom they tell."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prefect.blocks.core import Block, UnknownBlockType
from pydantic import SecretStr

import flows.tokens
from blocks.oauth import Grant, journal
from blocks.oauth.consent import Asked
from blocks.oauth.pairs import Held, Pair
from blocks.oauth.refresh import renew
from blocks.store.crypto import new_key
from flows.tokens import authorize, refresh_tokens, revoke
from tasks.grants import Health, care, invitation, is_due, report, signals, summary
from tasks.reports import moment
from tests.fakes.provider import CLIENT, SECRET, Provider
from tests.flowing import Told, told
from tests.grants import (
    Desk,
    ToyBrowser,
    ToyDevice,
    credentials,
    desk,
    eventually,
    named,
    prefect,
    provider,
    refreshing,
    rotating,
    store_url,
    when,
)

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "told", "when"]

DAY = 86400.0


@pytest.fixture
def saved(desk: Desk, told: Told, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Blocks by their names, as the flows find them; the store is the desk's."""
    blocks: dict[str, Any] = {}

    async def load(name: str) -> Any:
        if name not in blocks:
            raise ValueError(name)
        return blocks[name]

    async def the_store() -> Any:
        return desk.database

    monkeypatch.setattr(Block, "aload", load)
    monkeypatch.setattr(flows.tokens, "the_store", the_store)
    monkeypatch.setattr(flows.tokens, "get_run_logger", lambda: logging.getLogger("run"))
    return blocks


def keep(blocks: dict[str, Any], grant: Any) -> str:
    blocks[grant.grant_name] = grant
    return str(grant.grant_name)


def device(provider: Provider) -> Grant:
    made = ToyDevice(client_id=CLIENT, client_secret=SecretStr(SECRET), address=provider.url)
    return named(made)  # type: ignore[no-any-return]  # a grant


async def test_authorize_shows_a_code_and_keeps_what_comes_of_it(
    desk: Desk, saved: dict[str, Any], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    desk.grant = device(desk.provider)
    running = asyncio.create_task(authorize.fn(keep(saved, desk.grant)))
    await eventually(lambda: told.artifacts)
    (key, shown), *_ = told.artifacts
    assert key == "authorize-toydevice-prod"
    assert "WDJB-MJHT" in shown.replace("\\", "")
    assert "example.test/device" in shown
    desk.provider.consent()
    state = await running
    assert (state.is_completed(), state.message) == (True, "toydevice/prod is authorised")
    held = await desk.agree()
    assert held.pair is not None
    everything = shown + caplog.text + str(state)
    assert not any(one in everything for one in (held.pair.access, held.pair.refresh, SECRET, "device-"))
    assert "WDJB-MJHT" in caplog.text


async def test_authorize_takes_a_browser_back(desk: Desk, saved: dict[str, Any], told: Told) -> None:
    grant = named(ToyBrowser(client_id=CLIENT, client_secret=SecretStr(SECRET), address=desk.provider.url))
    running = asyncio.create_task(authorize.fn(keep(saved, grant)))
    await eventually(lambda: told.artifacts)
    found = re.search(r"\]\((http://[^)]+)\)", told.artifacts[0][1])
    assert found
    async with httpx.AsyncClient(follow_redirects=True) as web:
        await web.get(found[1])
    assert (await running).is_completed()


@pytest.mark.parametrize("name", ["nothing", "a/b", "a/b/c", "", "../x"])
async def test_a_name_of_no_block_is_said(saved: dict[str, Any], name: str) -> None:
    for flow in (authorize, revoke):
        state = await flow.fn(name)
        assert state.is_failed()
        assert "give it as type/name" in str(state.message)


async def test_a_block_without_a_grant_is_said(saved: dict[str, Any]) -> None:
    saved["toy/x"] = object()
    assert "needs no grant" in str((await authorize.fn("toy/x")).message)


async def test_a_person_who_refuses_fails_the_run_in_words(desk: Desk, saved: dict[str, Any], told: Told) -> None:
    running = asyncio.create_task(authorize.fn(keep(saved, device(desk.provider))))
    await eventually(lambda: told.artifacts)
    desk.provider.consent(refused=True)
    state = await running
    assert state.is_failed()
    assert "refused" in str(state.message)


async def test_revoke_says_what_the_vendor_did(desk: Desk, saved: dict[str, Any]) -> None:
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    await desk.renew()
    state = await revoke.fn(keep(saved, desk.grant))
    assert state.message == "toyrefresh/prod is forgotten here; the vendor revoked it"
    assert (await desk.agree()).state == "revoked"


@pytest.mark.parametrize(("ages", "after", "due"), [(10, 4.9, False), (10, 5.1, True), (0, 6.9, False), (0, 7.1, True)])
def test_a_refresh_token_is_due_at_half_its_life(ages: float, after: float, *, due: bool) -> None:
    pair = Pair("a", 0.0, 3600.0, "r", 0.0, ages * DAY)
    assert is_due(pair, after * DAY) is due
    assert not is_due(Pair("a", 0.0, 3600.0), after * DAY)


async def test_what_would_die_of_age_is_renewed_and_nothing_else(desk: Desk, saved: dict[str, Any]) -> None:
    desk.provider.more = {"refresh_token_expires_in": int(10 * DAY)}
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    keep(saved, desk.grant)
    await desk.renew()
    other = credentials(desk.provider)
    keep(saved, other)
    await renew(desk.database, other, clock=desk.time.clock)
    calls = desk.provider.calls["token"]
    desk.time.go(4 * DAY)
    await care(desk.database, desk.time.clock)
    assert desk.provider.calls["token"] == calls
    desk.time.go(1.5 * DAY)
    found = await care(desk.database, desk.time.clock)
    assert desk.provider.calls["token"] == calls + 1
    assert [one.words for one in found] == ["healthy", "healthy"]
    assert (await desk.agree()).generation == 2


async def test_a_grant_that_ended_is_told_of_once_and_again_when_it_ends_again(
    desk: Desk, saved: dict[str, Any], told: Told
) -> None:
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    name = keep(saved, desk.grant)
    await desk.renew()
    desk.provider.families[0].alive = False
    held = (await desk.row()).held
    stale = Held(held.generation + 1, "ended", held.about, held.seed, None)
    await journal.record(desk.database, name, stale)
    for _ in range(3):
        state = await refresh_tokens.fn()
    assert state.message == "1 grants, 0 well, 1 need a person"
    assert told.names() == ["lockstep.attention.grant"]
    assert told.payload("lockstep.attention.grant")["kind"] == "GrantEnded"
    assert told.events[0][1]["prefect.resource.id"] == "lockstep.grant.toyrefresh/prod"
    saved[name] = desk.grant = refreshing(desk.provider, desk.provider.grant())
    state = await refresh_tokens.fn()
    assert state.message == "1 grants, 1 well"
    assert (await desk.row()).told == ""


async def test_one_grant_that_fails_keeps_no_other_from_its_care(desk: Desk, saved: dict[str, Any]) -> None:
    first = refreshing(desk.provider, desk.provider.grant())
    second = named(refreshing(desk.provider, desk.provider.grant()), "zz")
    gone = named(refreshing(desk.provider, desk.provider.grant()), "aa")
    for grant in (first, second, gone):
        await renew(desk.database, grant, clock=desk.time.clock)
    keep(saved, first)
    keep(saved, second)
    desk.time.go(30 * DAY)
    desk.provider.faults.plan("limit")
    found = {one.name: one for one in await care(desk.database, desk.time.clock)}
    assert found["toyrefresh/aa"].person
    assert "there is no block" in found["toyrefresh/aa"].words
    assert found["toyrefresh/prod"].kind == "Unavailable"
    assert not found["toyrefresh/prod"].person
    assert found["toyrefresh/zz"].words == "healthy"


async def test_a_row_under_a_missing_key_keeps_no_other_from_its_care(
    desk: Desk, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (named(refreshing(desk.provider, desk.provider.grant()), name) for name in ("aa", "zz"))
    for grant in (first, second):
        keep(saved, grant)
        await renew(desk.database, grant, clock=desk.time.clock)
    mine, held = os.environ["LOCKSTEP_KEYS"], await journal.read(desk.database, first.grant_name)
    assert held
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())
    await journal.record(desk.database, first.grant_name, replace(held.held, generation=2))
    monkeypatch.setenv("LOCKSTEP_KEYS", mine)
    desk.time.go(30 * DAY)
    for new in (True, False):
        found = {one.name: one for one in await care(desk.database, desk.time.clock)}
        assert found["toyrefresh/zz"].words == "healthy"
        bad = found["toyrefresh/aa"]
        assert (bad.kind, bad.person, bad.new) == ("Misconfigured", True, new)
        assert "put that key back" in bad.words


@pytest.mark.parametrize(
    ("error", "words", "person"),
    [
        (UnknownBlockType("toyrefresh"), "update the worker", True),
        (RuntimeError("Unable to load"), "save it again", True),
        (httpx.ConnectError("away"), "could not be renewed yet", False),
    ],
)
async def test_a_block_that_cannot_be_loaded_keeps_no_other_from_its_care(
    desk: Desk, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, words: str, *, person: bool
) -> None:
    for name in ("aa", "zz"):
        keep(saved, grant := named(refreshing(desk.provider, desk.provider.grant()), name))
        await renew(desk.database, grant, clock=desk.time.clock)
    whole = Block.aload

    async def load(name: str) -> Any:
        if name.endswith("aa"):
            raise error
        return await whole(name)

    monkeypatch.setattr(Block, "aload", load)
    found = {one.name: one for one in await care(desk.database, desk.time.clock)}
    assert found["toyrefresh/zz"].words == "healthy"
    assert words in found["toyrefresh/aa"].words
    assert found["toyrefresh/aa"].person is person
    # That is no reason to forget it.
    assert (await revoke.fn("toyrefresh/aa")).is_failed()
    assert "toyrefresh/aa" in await journal.names(desk.database)


async def test_a_grant_that_ends_in_its_care_is_told_of_once(desk: Desk, saved: dict[str, Any]) -> None:
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    keep(saved, desk.grant)
    await desk.renew()
    desk.provider.families[0].alive = False
    desk.time.go(30 * DAY)
    told_of = [one.new for _ in range(3) for one in await care(desk.database, desk.time.clock)]
    assert told_of == [True, False, False]


async def test_a_grant_whose_block_is_gone_can_be_forgotten(
    desk: Desk, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    await desk.renew()
    name = desk.grant.grant_name
    (found,) = await care(desk.database, desk.time.clock)
    assert "run the deployment revoke with it, and it is forgotten" in found.words
    # Nor is its key needed.
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())
    state = await revoke.fn(f" {name} ")
    assert state.is_completed()
    assert state.message == (
        f"{name} is forgotten here; its block is gone, so that its vendor could not be asked: "
        "remove the client's access there"
    )
    assert await care(desk.database, desk.time.clock) == []
    assert desk.prefect.documents == {}
    assert (await revoke.fn(name)).is_failed()


async def test_a_grant_without_a_block_whose_document_is_another_stores_is_left_alone(
    desk: Desk, saved: dict[str, Any]
) -> None:
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    await desk.renew()
    desk.prefect.documents["toyrefresh--prod"]["store"] = "another0"
    state = await revoke.fn(desk.grant.grant_name)
    assert state.is_failed()
    assert "guarded by the store another0" in str(state.message)
    assert await journal.names(desk.database) == [desk.grant.grant_name]


async def test_authorize_allows_again_what_was_revoked_and_needs_nobody(desk: Desk, saved: dict[str, Any]) -> None:
    name = keep(saved, desk.grant)
    assert "nothing to authorise" in str((await authorize.fn(name)).message)
    await desk.renew()
    assert (await revoke.fn(name)).is_completed()
    state = await authorize.fn(name)
    assert (state.is_completed(), state.message) == (True, f"{name} was revoked here, and may be used again")
    assert (await desk.renew()).state == "granted"


async def test_without_grants_there_is_nothing_to_show(saved: dict[str, Any], told: Told) -> None:
    assert (await refresh_tokens.fn()).message == "there are no grants"
    assert told.artifacts == []


def test_what_a_vendor_says_is_shown_as_text() -> None:
    odd = "<img src=x onerror=alert(1)> [x](javascript:y) |"

    async def nobody() -> Pair:
        return Pair()

    shown = report([Health("toy/prod", odd, kind="GrantEnded", person=True)])
    shown += invitation("toy/prod", Asked("javascript:alert(1)", odd, 900, nobody))
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(javascript", shown)


def test_the_report_puts_who_needs_a_person_where_it_is_seen() -> None:
    found = [Health("b/b", "over", kind="AnswerLost", person=True, new=True), Health("a/a", "healthy", 1.0, DAY)]
    assert summary(found) == "2 grants, 1 well, 1 need a person"
    assert report(found).index("over") < report(found).index("healthy")
    assert [one.about for one in signals(found)] == ["lockstep.grant.b/b"]
    assert f"{moment(datetime(1970, 1, 2, tzinfo=UTC))} |" in report(found)
    assert f"| {moment(None)} | {moment(None)} |" in report(found)
