"""Whose tokens are held, and what begins a grant anew: what is newly typed, and nothing that was there before."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

import blocks.oauth.auth
from blocks.errors import Unauthorized
from blocks.oauth import GrantEnded
from blocks.oauth.auth import Source, source_of
from blocks.oauth.people import allow, revoke
from blocks.oauth.refresh import renew
from tests.fakes.provider import CLIENT, SECRET
from tests.grants import Desk, credentials, desk, named, prefect, provider, refreshing, rotating, store_url, when
from tests.vendors import BoxJwtLike, BoxLike, CertificateLike, DefenderLike, InCloud, KeyLike

__all__ = ["desk", "prefect", "provider", "rotating", "store_url", "when"]

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


def changed(grant: Any, **fields: Any) -> Any:
    """The block, loaded after somebody changed its form."""
    return named(type(grant)(**{name: getattr(grant, name) for name in type(grant).model_fields} | fields))


# A run that loaded its block long ago.


async def test_a_run_with_an_older_block_follows_the_newly_typed_token_and_presents_nothing_of_its_own(
    rotating: Desk,
) -> None:
    older = rotating.grant
    await rotating.renew()
    rotating.provider.families[0].alive = False
    rotating.time.go(3600)
    with pytest.raises(GrantEnded):
        await rotating.renew()
    newer = rotating.grant = refreshing(rotating.provider, rotating.provider.grant())
    begun = await rotating.renew()
    rotating.grant = older
    assert await rotating.renew() == begun
    for grant in (older, newer, older, newer):
        rotating.grant = grant
        rotating.time.go(3600)
        assert (await rotating.renew()).seed == begun.seed
    assert len(set(rotating.provider.presented)) == len(rotating.provider.presented)
    assert [one.alive for one in rotating.provider.families] == [False, True]
    assert (await rotating.agree()).generation == begun.generation + 4


async def test_a_run_with_an_older_block_cannot_undo_a_revocation_or_use_up_the_newer_token(rotating: Desk) -> None:
    older = rotating.grant
    await rotating.renew()
    newer = refreshing(rotating.provider, rotating.provider.grant())
    await renew(rotating.database, newer, clock=rotating.time.clock)
    await revoke(rotating.database, older)
    for grant in (older, newer):
        with pytest.raises(GrantEnded, match="revoked here: type a new refresh token"):
            await renew(rotating.database, grant, clock=rotating.time.clock)
    assert len(rotating.provider.presented) == 2


# Whose tokens these are.


async def test_another_subject_has_another_token(desk: Desk) -> None:
    desk.provider.client_in, desk.provider.public_key = "body", PUBLIC
    desk.grant = named(
        BoxJwtLike(
            client_id=CLIENT, client_secret=SecretStr(SECRET), address=desk.provider.url, enterprise="99",
            private_key=SecretStr(PRIVATE),
        )
    )  # fmt: skip
    first = await desk.renew()
    assert await desk.renew() == first
    desk.grant = changed(desk.grant, enterprise="100")
    second = await desk.renew()
    assert first.pair
    assert second.pair
    assert first.pair.access != second.pair.access
    assert desk.provider.calls["token"] == 2


BOX = BoxLike(client_id="c", client_secret=SecretStr("s"), address="https://box.test", subject_id="1")
JWT = BoxJwtLike(
    client_id="c", client_secret=SecretStr("s"), address="https://b.test", enterprise="1", private_key=SecretStr("k")
)
AZURE = InCloud(client_id="c", tenant="t.example", address="")
OTHERS: list[tuple[Any, dict[str, Any]]] = [
    (BOX, {"subject_id": "2"}),
    (BOX, {"subject_type": "user"}),
    (BOX, {"client_id": "d"}),
    (BOX, {"address": "https://other.test"}),
    (JWT, {"enterprise": "2"}),
    (JWT, {"client_id": "d"}),
    (AZURE, {"tenant": "u.example"}),
    (AZURE, {"cloud": "china"}),
    (AZURE, {"client_id": "d"}),
]


@pytest.mark.parametrize(("grant", "other"), OTHERS, ids=lambda one: "-".join(one) if isinstance(one, dict) else "")
def test_what_is_another_account_or_client_is_another_grant(grant: Any, other: dict[str, Any]) -> None:
    assert changed(grant).about == grant.about
    assert changed(grant, **other).about != grant.about


def test_what_an_assertion_has_anew_each_time_makes_no_other_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(BoxJwtLike, "claims", lambda _: {"sub": "1", "jti": str(next(times)), "exp": str(next(times))})
    assert JWT.about == JWT.about


# Revoked.

KEY = KeyLike(client_id="c", private_key=SecretStr("k"), address="https://okta.test")
CERTIFICATE = CertificateLike(
    client_id="c", certificate="cert", private_key=SecretStr("k"), address="https://bank.test"
)
DEFENDER = DefenderLike(client_id="c", tenant="t.example", address="https://127.0.0.1", client_secret=SecretStr("s"))


@pytest.mark.parametrize(
    ("grant", "field", "value"),
    [
        (BOX, "client_secret", SecretStr("new")),
        (JWT, "client_secret", SecretStr("new")),
        (JWT, "private_key", SecretStr("new")),
        (KEY, "private_key", SecretStr("new")),
        (CERTIFICATE, "certificate", "new"),
        (CERTIFICATE, "private_key", SecretStr("new")),
        (DEFENDER, "client_secret", SecretStr("new")),
        (DEFENDER, "certificate", "new"),
        (BOX, "subject_id", "2"),
    ],
)
def test_newly_typed_credentials_are_a_new_seed(grant: Any, field: str, value: Any) -> None:
    assert changed(grant).seed == grant.seed
    assert changed(grant, **{field: value}).seed != grant.seed


async def test_what_does_not_rotate_stays_revoked_until_new_credentials_are_typed(desk: Desk) -> None:
    await desk.renew()
    await revoke(desk.database, desk.grant)
    older = desk.grant
    for _ in range(3):
        with pytest.raises(GrantEnded, match="revoked here: fill in new credentials, or run the deployment authorize"):
            await desk.renew()
        desk.time.go(3600)
    assert desk.provider.calls["token"] == 1
    assert (await desk.agree()).state == "revoked"
    desk.grant = changed(older, client_secret=SecretStr("new"))
    with pytest.raises(Unauthorized, match="invalid_client"):
        await desk.renew()
    assert desk.provider.calls["token"] == 2
    desk.grant = older
    with pytest.raises(GrantEnded, match="revoked here"):
        await desk.renew()


async def test_what_is_newly_typed_after_a_revocation_works_and_the_older_block_follows_it(desk: Desk) -> None:
    desk.provider.client_in = "body"
    older = desk.grant = named(
        changed(BOX, client_id=CLIENT, client_secret=SecretStr(SECRET), address=desk.provider.url)
    )
    await desk.renew()
    await revoke(desk.database, desk.grant)
    desk.grant = changed(older, subject_id="2")
    assert (await desk.renew()).state == "granted"
    assert desk.provider.forms[-1]["box_subject_id"] == "2"
    await revoke(desk.database, desk.grant)
    desk.grant = older
    with pytest.raises(GrantEnded, match="revoked here"):
        await desk.renew()


async def test_what_does_not_rotate_may_be_allowed_again(desk: Desk, rotating: Desk) -> None:
    desk.grant = credentials(desk.provider)
    assert not await allow(desk.database, desk.grant)
    await desk.renew()
    assert not await allow(desk.database, desk.grant)
    await revoke(desk.database, desk.grant)
    assert await allow(desk.database, desk.grant)
    assert (await desk.renew()).state == "granted"
    assert desk.provider.calls["token"] == 2


async def test_only_a_person_can_authorise_what_rotates(rotating: Desk) -> None:
    await rotating.renew()
    await revoke(rotating.database, rotating.grant)
    assert not await allow(rotating.database, rotating.grant)
    assert (await rotating.agree()).state == "revoked"


# Sources.


async def test_a_process_makes_a_source_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Source] = []

    class Counted(Source):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(blocks.oauth.auth, "Source", Counted)
    found = [source_of(credentials(desk.provider)) for _ in range(5)]
    assert made == found[:1]
    assert set(found) == {made[0]}


async def test_what_is_newly_typed_is_not_served_from_what_came_of_the_older(rotating: Desk) -> None:
    older = source_of(rotating.grant)
    assert source_of(refreshing(rotating.provider, rotating.grant.typed)) is older
    assert source_of(refreshing(rotating.provider, rotating.provider.grant())) is not older
