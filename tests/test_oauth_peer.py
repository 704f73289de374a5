"""Against a certified OAuth server: each kind that it knows, rotation, and a token that comes twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.errors import Unauthorized
from blocks.oauth import (
    AnswerLost,
    AuthorizationCode,
    ClientKey,
    ClientSecret,
    DeviceCode,
    Endpoint,
    Grant,
    GrantEnded,
    journal,
)
from blocks.oauth.consent import asking
from blocks.oauth.journal import Note
from blocks.oauth.pairs import Held, mark
from blocks.oauth.people import adopt, revoke
from blocks.oauth.refresh import renew
from blocks.ratelimit import Clock
from blocks.store import Database
from tests.grants import Prefect, named, prefect, store_url
from tests.peers.fixtures import oidc_peer
from tests.peers.oidc import BASIC, PERSON, POST, SIGNS, Peer, consent

__all__ = ["oidc_peer", "prefect", "store_url"]
pytestmark = [pytest.mark.peer, pytest.mark.slow]
CLOCK = Clock()


def endpoint(url: str, **more: Any) -> Endpoint:
    return Endpoint(
        f"{url}/token",
        scope="openid offline_access api:read",
        parameters={"resource": "urn:api"},
        revoke_url=f"{url}/token/revocation",
        device_url=f"{url}/device/auth",
        authorize_url=f"{url}/auth",
        issuer=url,
        **more,
    )


class PeerPost(ClientSecret):
    """A secret in the body."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", scope="api:read", client_in="body")


class PeerBasic(ClientSecret):
    """A secret in the header."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", scope="api:read")


class PeerKey(ClientKey):
    """A key."""

    address: str

    def endpoint(self) -> Endpoint:
        # It knows itself by its issuer.
        return Endpoint(f"{self.address}/token", scope="api:read", audience=self.address)


class PeerDevice(DeviceCode):
    """A person with a code."""

    address: str

    def endpoint(self) -> Endpoint:
        return endpoint(self.address)


class PeerBrowser(AuthorizationCode):
    """A person with a browser."""

    address: str

    def endpoint(self) -> Endpoint:
        return endpoint(self.address)


def of(kind: Any, client: tuple[str, str], peer: Peer) -> Grant:
    made = kind(client_id=client[0], client_secret=SecretStr(client[1]), address=peer.url)
    return named(made)  # type: ignore[no-any-return]  # a grant


@pytest.mark.parametrize(("kind", "client"), [(PeerPost, POST), (PeerBasic, BASIC)])
async def test_a_client_with_a_secret(oidc_peer: Peer, kind: Any, client: tuple[str, str]) -> None:
    pair = await of(kind, client, oidc_peer).redeem(None, CLOCK)
    assert oidc_peer.active(pair.access)
    assert pair.lifetime == 5
    with pytest.raises(Unauthorized, match="invalid_client"):
        await of(kind, (client[0], "another"), oidc_peer).redeem(None, CLOCK)


async def test_a_client_with_a_key(oidc_peer: Peer) -> None:
    grant = named(PeerKey(client_id=SIGNS, private_key=SecretStr(oidc_peer.key), address=oidc_peer.url))
    assert oidc_peer.active((await grant.redeem(None, CLOCK)).access)


async def authorised(database: Database, peer: Peer) -> Grant:
    grant = of(PeerDevice, PERSON, peer)
    async with asking(grant) as asked:
        await consent(asked.link, asked.code)
        await adopt(database, grant, await asked.answer())
    return grant


async def renewed(database: Database, grant: Grant, held: Held) -> Held:
    """Renewed now, though the token serves."""
    assert held.pair is not None
    return await renew(database, grant, held.pair.access)


async def test_a_person_with_a_code_then_rotation_then_revocation(
    oidc_peer: Peer, database: Database, prefect: Prefect
) -> None:
    grant = await authorised(database, oidc_peer)
    held = await renew(database, grant)
    for generation in range(2, 5):
        held = await renewed(database, grant, held)
        assert held.generation == generation
        assert held.pair is not None
        assert oidc_peer.active(held.pair.access)
    assert held.pair is not None
    access, refresh = held.pair.access, held.pair.refresh
    assert await revoke(database, grant) == "the vendor revoked it"
    assert not oidc_peer.active(refresh)
    assert not oidc_peer.active(access)
    with pytest.raises(GrantEnded, match="revoked here"):
        await renew(database, grant)


async def test_a_person_with_a_browser(oidc_peer: Peer, database: Database, prefect: Prefect) -> None:
    grant = of(PeerBrowser, PERSON, oidc_peer)
    async with asking(grant) as asked:
        page, pair = await asyncio.gather(consent(asked.link), asked.answer())
    assert "close this page" in page.text
    held = await adopt(database, grant, pair)
    held = await renewed(database, grant, held)
    assert held.pair is not None
    assert oidc_peer.active(held.pair.access)


async def test_a_token_that_comes_twice_kills_the_grant_and_we_say_why(
    oidc_peer: Peer, database: Database, prefect: Prefect
) -> None:
    grant = await authorised(database, oidc_peer)
    entry = await journal.read(database, grant.grant_name)
    assert entry is not None
    held = entry.held
    assert held.pair is not None
    # A process wrote its note, sent its request, and died with the answer.
    await journal.note(database, grant.grant_name, Note(mark(held.pair.refresh), 0.0))
    form = {"grant_type": "refresh_token", "refresh_token": held.pair.refresh}
    async with httpx.AsyncClient() as died:
        lost = (await died.post(f"{oidc_peer.url}/token", auth=PERSON, data=form)).json()
    assert oidc_peer.active(lost["access_token"])
    with pytest.raises(AnswerLost):
        await renewed(database, grant, held)
    assert not oidc_peer.active(lost["refresh_token"])
    again = await authorised(database, oidc_peer)
    assert (await renew(database, again)).state == "granted"


async def test_a_grant_that_the_vendor_revoked_has_ended(oidc_peer: Peer, database: Database, prefect: Prefect) -> None:
    grant = await authorised(database, oidc_peer)
    entry = await journal.read(database, grant.grant_name)
    assert entry is not None
    assert entry.held.pair is not None
    async with httpx.AsyncClient() as other:
        await other.post(f"{oidc_peer.url}/token/revocation", auth=PERSON, data={"token": entry.held.pair.refresh})
    with pytest.raises(GrantEnded, match="revoked there, or is too old: run the deployment authorize"):
        await renewed(database, grant, entry.held)


async def test_twelve_at_once_are_one_redemption(oidc_peer: Peer, database: Database, prefect: Prefect) -> None:
    grant = await authorised(database, oidc_peer)
    entry = await journal.read(database, grant.grant_name)
    assert entry is not None
    found = await asyncio.gather(*(renewed(database, grant, entry.held) for _ in range(12)))
    assert {one.generation for one in found} == {entry.held.generation + 1}
    assert oidc_peer.active(found[0].pair.access if found[0].pair else "")
