"""Tokens in requests: read once, used on while they are renewed, replaced when they are refused."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import LockstepError, Unauthorized, Unavailable
from blocks.oauth import GrantEnded
from blocks.oauth.auth import REST, source_of
from tests.grants import Desk, credentials, desk, prefect, provider, rotating, store_url, when

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "when"]


async def settled() -> None:
    """What goes on in the background is over."""
    for _ in range(200):
        await asyncio.sleep(0.005)
        if not any("Source._fly" in str(task) for task in asyncio.all_tasks()):
            return


async def test_a_token_is_read_once_and_goes_with_each_request(desk: Desk) -> None:
    async with desk.http() as http:
        for _ in range(5):
            await http.json("GET", "/api")
    assert desk.provider.calls == {"token": 1, "api": 5}


async def test_another_process_takes_the_token_that_is_there(desk: Desk) -> None:
    for _ in range(3):
        async with desk.http() as http:
            await http.json("GET", "/api")
    assert desk.provider.calls["token"] == 1


async def test_in_its_leeway_a_token_is_used_on_while_a_new_one_is_fetched(desk: Desk) -> None:
    source = desk.source()
    async with desk.http(source) as http:
        await http.json("GET", "/api")
        await settled()
        desk.time.go(3600 - 59)
        desk.provider.faults.latency = 0.2
        first = await source.token()
        assert first.access in desk.provider.access
        assert desk.provider.calls["token"] == 1
        await settled()
        assert desk.provider.calls["token"] == 2
        assert (await source.token()).access != first.access


async def test_a_vendor_that_is_away_in_the_leeway_hurts_nobody(desk: Desk) -> None:
    source = desk.source()
    first = await source.token()
    await settled()
    desk.time.go(3600 - 59)
    for _ in range(3):
        desk.provider.faults.plan("fail")
    for _ in range(20):
        assert (await source.token()).access == first.access
        await settled()
    # It was asked once, and is left alone for a second.
    assert desk.provider.calls["token"] == 2
    desk.time.go(3600)
    with pytest.raises(Unavailable) as caught:
        await source.token()
    assert not caught.value.sent


async def test_a_refused_token_is_replaced_once_for_all_who_had_it(desk: Desk) -> None:
    async with desk.http() as http:
        await http.json("GET", "/api")
        desk.provider.end_tokens()
        await asyncio.gather(*(http.json("GET", "/api") for _ in range(10)))
    assert desk.provider.calls["token"] == 2


async def test_a_refused_token_is_looked_up_first_and_redeemed_only_if_it_is_the_stored_one(desk: Desk) -> None:
    one, other = desk.source(), desk.source()
    async with desk.http(one) as first, desk.http(other) as second:
        await first.json("GET", "/api")
        await second.json("GET", "/api")
        desk.provider.end_tokens()
        await first.json("GET", "/api")
        await second.json("GET", "/api")
    assert desk.provider.calls["token"] == 2


async def test_a_system_that_refuses_every_token_causes_one_refresh_and_no_loop(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk.http() as http:
        monkeypatch.setattr(desk.provider, "alive", lambda _access: False)
        for _ in range(5):
            with pytest.raises(Unauthorized):
                await http.json("GET", "/api")
    assert desk.provider.calls["token"] == 2


async def test_after_a_while_a_refused_token_may_cause_a_refresh_again(desk: Desk) -> None:
    source = desk.source()
    source.refused_twice()
    first = await source.token()
    assert await source.instead_of(first) is None
    desk.time.go(REST + 1)
    other = await source.instead_of(first)
    assert other is not None
    assert other.access != first.access


async def test_a_failure_before_a_request_says_that_it_was_not_sent(desk: Desk) -> None:
    desk.provider.faults.plan("drop")
    async with desk.http() as http:
        with pytest.raises(Unavailable) as caught:
            await http.json("POST", "/api", json={})
    assert not caught.value.sent
    assert desk.provider.calls["api"] == 0


async def test_a_vendor_that_refuses_the_client_is_not_asked_again_at_once(desk: Desk) -> None:
    desk.provider.client_in = "body"
    source = desk.source()
    seen: list[LockstepError] = []
    for _ in range(5):
        with pytest.raises(Unauthorized) as caught:
            await source.token()
        seen.append(caught.value)
    assert desk.provider.calls["token"] == 1
    assert len({id(one) for one in seen}) == 5
    desk.time.go(REST + 1)
    desk.provider.client_in = "header"
    assert (await source.token()).header.startswith("Bearer access-")


async def test_a_grant_that_ended_fails_the_request_in_words(rotating: Desk) -> None:
    rotating.provider.families[0].alive = False
    async with rotating.http() as http:
        with pytest.raises(GrantEnded, match="toyrefresh/prod token: the vendor no longer takes it"):
            await http.json("GET", "/api")


async def test_who_is_cancelled_while_waiting_takes_nobodys_refresh_along(rotating: Desk) -> None:
    rotating.provider.faults.latency = 0.3
    source = rotating.source()
    first, second = asyncio.create_task(source.token()), asyncio.create_task(source.token())
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).access
    assert first.cancelled()
    assert len(rotating.provider.presented) == 1
    await rotating.agree()


async def test_a_clock_that_jumps_does_not_end_or_prolong_what_a_process_has(desk: Desk) -> None:
    source = desk.source()
    first = await source.token()
    for jump in (-86400.0, 3 * 86400.0):
        desk.time.wall += jump
        assert await source.token() is first
    desk.time.go(3600)
    assert (await source.token()).access != first.access


async def test_a_token_whose_lifetime_nobody_told_is_renewed_all_the_same(desk: Desk) -> None:
    desk.provider.told = None
    source = desk.source()
    await source.token()
    desk.time.go(601)
    await source.token()
    assert desk.provider.calls["token"] == 2


async def test_all_blocks_of_one_name_share_a_source_and_other_settings_have_their_own(desk: Desk) -> None:
    first = source_of(credentials(desk.provider))
    assert source_of(credentials(desk.provider)) is first
    other = credentials(desk.provider)
    other.client_id = "another"
    assert source_of(other) is not first


async def test_no_repr_shows_a_token(desk: Desk) -> None:
    source = desk.source()
    ready = await source.token()
    assert ready.access not in repr(ready)
    assert ready.access not in repr(await desk.renew())


async def test_requests_go_on_while_a_new_token_is_still_being_published(desk: Desk) -> None:
    source, gate = desk.source(), asyncio.Event()
    desk.prefect.written = gate.wait
    ready = await source.token()
    assert desk.provider.alive(ready.access)
    assert desk.prefect.held(desk.grant.grant_name) != (await desk.row()).held
    gate.set()
    await settled()
    await desk.agree()


async def test_a_token_that_ends_before_it_is_published_is_not_handed_out(desk: Desk) -> None:
    source, gate = desk.source(), asyncio.Event()
    desk.prefect.written = gate.wait
    first = await source.token()
    desk.time.go(3600)
    waiting = asyncio.create_task(source.token())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    gate.set()
    assert (await waiting).access != first.access
