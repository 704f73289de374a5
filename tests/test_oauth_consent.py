"""A person authorises with a code, or with a browser; and revokes."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from blocks.errors import Misconfigured, Unauthorized, Unavailable, Unreadable
from blocks.oauth import GrantEnded
from blocks.oauth.consent import asking
from blocks.oauth.people import adopt, revoke
from tests.fakes.provider import CLIENT, SECRET, Answer, Provider
from tests.grants import (
    Desk,
    ToyBrowser,
    ToyDevice,
    desk,
    eventually,
    named,
    prefect,
    provider,
    rotating,
    store_url,
    when,
)

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "when"]


def device(provider: Provider, *, public: bool = False) -> Any:
    secret = SecretStr("" if public else SECRET)
    return named(ToyDevice(client_id=CLIENT, client_secret=secret, address=provider.url))


def browser(provider: Provider, port: int = 0) -> Any:
    return named(
        ToyBrowser(client_id=CLIENT, client_secret=SecretStr(SECRET), address=provider.url, redirect_port=port)
    )


async def test_a_device_code_is_asked_for_again_and_again_until_the_person_has_agreed(desk: Desk) -> None:
    grant = desk.grant = device(desk.provider)
    async with asking(grant, desk.time.clock) as asked:
        assert (asked.link, asked.code) == ("https://example.test/device", "WDJB-MJHT")
        answer = asyncio.create_task(asked.answer())
        await eventually(lambda: desk.provider.calls["token"] >= 3)
        desk.provider.consent()
        pair = await answer
    held = await adopt(desk.database, grant, pair)
    assert held == await desk.agree()
    assert held.state == "granted"
    desk.time.go(3600)
    assert (await desk.renew()).generation == 2


async def test_slow_down_slows_down_for_good_and_a_lost_connection_doubles_the_wait(desk: Desk) -> None:
    slow: Answer = (400, b'{"error": "slow_down"}', {"content-type": "application/json"})
    async with asking(device(desk.provider), desk.time.clock) as asked:
        desk.provider.answers = [slow]
        desk.provider.faults.plan("drop", route="token", skip=1)
        answer = asyncio.create_task(asked.answer())
        await eventually(lambda: desk.provider.calls["token"] >= 3)
        desk.provider.consent()
        assert (await answer).refresh
    assert desk.time.slept[:3] == pytest.approx([0.05, 5.05, 10.1])


async def test_a_person_who_refuses_ends_it(desk: Desk) -> None:
    async with asking(device(desk.provider), desk.time.clock) as asked:
        desk.provider.consent(refused=True)
        with pytest.raises(Unauthorized, match="refused"):
            await asked.answer()


async def test_a_code_that_nobody_types_in_ends_in_time(desk: Desk) -> None:
    async with asking(device(desk.provider), desk.time.clock) as asked:
        desk.provider.answers = [(400, b'{"error": "slow_down"}', {})] * 60
        with pytest.raises(Unauthorized, match="run authorize again"):
            await asked.answer()
    assert sum(desk.time.slept) <= 900


async def test_a_public_client_shows_its_id_alone(desk: Desk) -> None:
    desk.provider.client_in = "nowhere"
    desk.provider._client = lambda *_: None  # type: ignore[method-assign]  # it has no secret to look at
    async with asking(device(desk.provider, public=True), desk.time.clock) as asked:
        desk.provider.consent()
        await asked.answer()
    assert desk.provider.forms[-1]["client_id"] == CLIENT


@pytest.mark.parametrize("link", ["", "javascript:alert(1)", "file:///etc/passwd", 7, "x" * 5000])
async def test_a_link_that_is_none_is_not_shown_to_anybody(desk: Desk, link: Any) -> None:
    answer = httpx.Response(200, json={"device_code": "d", "user_code": "u", "verification_uri": link})
    desk.provider.answers = [(200, answer.content, {"content-type": "application/json"})]
    with pytest.raises(Unreadable):
        async with asking(device(desk.provider), desk.time.clock):
            pass


async def visit(link: str) -> httpx.Response:
    """What a person's browser does."""
    async with httpx.AsyncClient(follow_redirects=True) as web:
        return await web.get(link)


async def test_a_browser_comes_back_with_a_code_that_is_exchanged_with_pkce(desk: Desk) -> None:
    grant = browser(desk.provider)
    async with asking(grant) as asked:
        given = parse_qs(urlsplit(asked.link).query)
        assert given["code_challenge_method"] == ["S256"]
        assert given["redirect_uri"][0].startswith("http://127.0.0.1:")
        page, pair = await asyncio.gather(visit(asked.link), asked.answer())
    assert "close this page" in page.text
    assert pair.refresh
    assert desk.provider.forms[0]["code_verifier"] not in asked.link
    with pytest.raises(httpx.ConnectError):
        await visit(given["redirect_uri"][0])


@pytest.mark.parametrize("wrong", ["state", "iss", "path", "method"])
async def test_what_was_not_sent_by_the_vendor_to_us_is_not_taken(desk: Desk, wrong: str) -> None:
    async with asking(browser(desk.provider)) as asked:
        given = parse_qs(urlsplit(asked.link).query)
        address = given["redirect_uri"][0]
        params = {"code": "stolen", "state": given["state"][0], "iss": desk.provider.url}
        if wrong in params:
            params[wrong] = "another"
        async with httpx.AsyncClient() as web:
            target = address.replace("/callback", "/x") if wrong == "path" else address
            answer = await web.request("POST" if wrong == "method" else "GET", target, params=params)
        assert answer.status_code in {400, 404}
        assert "stolen" not in answer.text
        _, pair = await asyncio.gather(visit(asked.link), asked.answer())
    assert pair.access
    assert "stolen" not in str(desk.provider.forms)


async def test_a_person_who_refuses_in_the_browser_ends_it(desk: Desk) -> None:
    async with asking(browser(desk.provider)) as asked:
        given = parse_qs(urlsplit(asked.link).query)
        params = {"error": "access_denied", "state": given["state"][0], "iss": desk.provider.url}
        async with httpx.AsyncClient() as web:
            await web.get(given["redirect_uri"][0], params=params)
        with pytest.raises(Unauthorized, match="access_denied"):
            await asked.answer()


async def test_a_registered_port_that_is_taken_is_said(desk: Desk) -> None:
    async with asking(browser(desk.provider)) as asked:
        port = urlsplit(parse_qs(urlsplit(asked.link).query)["redirect_uri"][0]).port
        with pytest.raises(Misconfigured, match=f"port {port} of this machine is taken"):
            async with asking(browser(desk.provider, port or 0)):
                pass


async def test_what_nobody_needs_to_authorise_says_so(desk: Desk) -> None:
    with pytest.raises(Misconfigured, match="nothing to authorise"):
        async with asking(desk.grant):
            pass


async def test_what_nobody_has_authorised_yet_says_what_to_run(desk: Desk) -> None:
    desk.grant = device(desk.provider)
    with pytest.raises(GrantEnded, match="run the deployment authorize"):
        await desk.renew()
    assert desk.provider.calls["token"] == 0


async def test_what_is_revoked_is_revoked_there_and_forgotten_here(rotating: Desk) -> None:
    held = await rotating.renew()
    assert await revoke(rotating.database, rotating.grant) == "the vendor revoked it"
    assert rotating.provider.families[0].killed_by == "revoked"
    after = await rotating.agree()
    assert (after.state, after.pair, after.generation) == ("revoked", None, held.generation + 1)
    with pytest.raises(GrantEnded, match="revoked here"):
        await rotating.renew()
    assert len(rotating.provider.presented) == 1


async def test_where_the_vendor_does_not_answer_nothing_is_forgotten(rotating: Desk) -> None:
    await rotating.renew()
    rotating.provider.faults.plan("fail", route="revoke")
    with pytest.raises(Unavailable):
        await revoke(rotating.database, rotating.grant)
    assert (await rotating.agree()).state == "granted"


async def test_a_vendor_that_refuses_to_revoke_is_told_of_and_the_grant_forgotten(rotating: Desk) -> None:
    await rotating.renew()
    rotating.grant = rotating.grant.model_copy(update={"client_secret": SecretStr("another")})
    rotating.grant._block_document_name = "prod"
    assert "invalid_client" in await revoke(rotating.database, rotating.grant)
    assert (await rotating.agree()).state == "revoked"


async def test_what_was_revoked_can_be_authorised_again(desk: Desk) -> None:
    desk.grant = device(desk.provider)
    async with asking(desk.grant, desk.time.clock) as asked:
        desk.provider.consent()
        pair = await asked.answer()
    await adopt(desk.database, desk.grant, pair)
    await revoke(desk.database, desk.grant)
    async with asking(desk.grant, desk.time.clock) as asked:
        desk.provider.consent()
        await adopt(desk.database, desk.grant, await asked.answer())
    assert (await desk.renew()).generation == 3


async def test_what_is_authorised_is_kept_though_the_run_is_cancelled_meanwhile(desk: Desk) -> None:
    desk.grant = device(desk.provider)
    async with asking(desk.grant, desk.time.clock) as asked:
        desk.provider.consent()
        pair = await asked.answer()
    keeping = asyncio.create_task(adopt(desk.database, desk.grant, pair))
    await asyncio.sleep(0)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await eventually(lambda: desk.prefect.writes > 1)
    assert (await desk.agree()).pair == pair
