"""Each kind says who it is as its vendor wants it, and makes a form that people can fill in."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from prefect import flow
from prefect.utilities.callables import parameter_schema
from pydantic import SecretStr

from blocks.errors import Misconfigured, Unauthorized, Unavailable
from blocks.oauth import Grant
from blocks.oauth.keys import pem
from blocks.oauth.microsoft import CLOUDS
from blocks.oauth.pairs import Pair
from blocks.ratelimit import Clock
from tests.fakes.provider import CLIENT, SECRET, Provider
from tests.grants import Time, ToyBrowser, ToyCredentials, ToyDevice, ToyRefresh, named, provider
from tests.vendors import (
    ArubaLike,
    BoxJwtLike,
    BoxLike,
    CertificateLike,
    DefenderLike,
    DefenderUserLike,
    InBody,
    InCloud,
    KeyLike,
)

__all__ = ["provider"]

KINDS = (
    ToyCredentials, ToyRefresh, ToyDevice, ToyBrowser, InBody, BoxLike, BoxJwtLike, ArubaLike, KeyLike, CertificateLike,
    DefenderLike, DefenderUserLike,
)  # fmt: skip
CLOCK = Clock()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SIGNING = {"RSA": RSA, "EC": ec.generate_private_key(ec.SECP256R1()), "Ed25519": ed25519.Ed25519PrivateKey.generate()}


def private(key: Any, passphrase: str = "") -> str:
    how = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode())


def public(key: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode())


def secret(kind: Any, provider: Provider, **more: Any) -> Grant:
    made = kind(client_id=CLIENT, client_secret=SecretStr(SECRET), address=provider.url, **more)
    return named(made)  # type: ignore[no-any-return]  # a grant


async def test_a_secret_goes_into_the_body_where_the_vendor_wants_it_there(provider: Provider) -> None:
    provider.client_in = "body"
    assert (await secret(InBody, provider).redeem(None, CLOCK)).access
    with pytest.raises(Unauthorized, match="invalid_client"):
        await secret(ToyCredentials, provider).redeem(None, CLOCK)


async def test_a_secret_in_the_header_is_form_encoded_first(provider: Provider) -> None:
    assert (await secret(ToyCredentials, provider).redeem(None, CLOCK)).access
    assert "client_secret" not in provider.forms[0]


async def test_boxes_subject_goes_with_each_request(provider: Provider) -> None:
    provider.client_in = "body"
    await secret(BoxLike, provider, subject_id="42").redeem(None, CLOCK)
    assert provider.forms[0]["box_subject_type"] == "enterprise"
    assert provider.forms[0]["box_subject_id"] == "42"


async def test_arubas_form_is_the_query_and_its_tokens_age(provider: Provider) -> None:
    provider.client_in = "query"
    grant = secret(ArubaLike, provider, refresh_token=SecretStr(provider.grant()))
    pair = await grant.redeem(Pair(refresh=grant.typed), CLOCK)
    assert pair.ages == pytest.approx(pair.issued + 15 * 86400)
    assert provider.forms[0]["refresh_token"] == grant.typed


@pytest.mark.parametrize("name", SIGNING)
async def test_a_client_signs_who_it_is_anew_each_time(provider: Provider, name: str) -> None:
    key = SIGNING[name]
    provider.public_key = public(key)
    grant = named(KeyLike(client_id=CLIENT, private_key=SecretStr(private(key)), address=provider.url, key_id="k1"))
    await grant.redeem(None, CLOCK)
    await grant.redeem(None, CLOCK)
    assert len(provider.assertions) == 2
    assert provider.forms[0]["scope"] == "okta.users.read"


async def test_a_key_may_have_a_passphrase_and_be_pasted_into_one_line(provider: Provider) -> None:
    provider.public_key = public(RSA)
    pasted = private(RSA, "open sesame").replace("\n", " ")
    grant = named(
        KeyLike(
            client_id=CLIENT, private_key=SecretStr(pasted), passphrase=SecretStr("open sesame"), address=provider.url
        )
    )
    assert (await grant.redeem(None, CLOCK)).access
    assert pem(private(RSA).replace("\n", "\\n")) == private(RSA)


@pytest.mark.parametrize("key", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
async def test_a_key_that_cannot_be_read_is_said_without_showing_it(provider: Provider, key: str) -> None:
    grant = named(KeyLike(client_id=CLIENT, private_key=SecretStr(key), address=provider.url))
    with pytest.raises(Misconfigured, match="private key cannot be read") as caught:
        await grant.redeem(None, CLOCK)
    assert "AAAA" not in str(caught.value)
    assert provider.calls["token"] == 0


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_an_assertion_is_signed_again_by_the_vendors_clock(ahead: float) -> None:
    time = Time()
    async with Provider(clock=lambda: time.wall + ahead).serving() as provider:
        provider.client_in, provider.public_key = "body", public(RSA)
        grant = secret(BoxJwtLike, provider, enterprise="99", private_key=SecretStr(private(RSA)))
        assert (await grant.redeem(None, time.clock)).access
        assert provider.calls["token"] == 2
        assert provider.forms[1]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def test_an_assertion_that_is_wrong_is_not_signed_for_ever(provider: Provider) -> None:
    provider.client_in, provider.public_key = "body", public(rsa.generate_private_key(65537, 2048))
    grant = secret(BoxJwtLike, provider, enterprise="99", private_key=SecretStr(private(RSA)))
    with pytest.raises(Unauthorized):
        await grant.redeem(None, CLOCK)
    assert provider.calls["token"] == 1


async def test_secrets_travel_over_https_alone() -> None:
    grant = named(ToyCredentials(client_id="c", client_secret=SecretStr("s"), address="http://example.test"))
    with pytest.raises(Misconfigured, match="must begin with https"):
        await grant.redeem(None, CLOCK)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """A private authority, and its file."""
    ca, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, str(path)


def server_tls(ca: trustme.CA, *, client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    if client:
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_client_shows_its_certificate_when_it_connects(authority: tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    leaf = ca.issue_cert("client-7")
    chain = "".join(one.bytes().decode() for one in leaf.cert_chain_pems)
    async with Provider().serving(server_tls(ca, client=True)) as provider:
        provider._client = lambda *_: None  # type: ignore[method-assign]  # TLS has done it
        grant = named(
            CertificateLike(
                client_id=CLIENT,
                certificate=chain.replace("\n", " "),
                private_key=SecretStr(leaf.private_key_pem.bytes().decode()),
                address=provider.url,
                ca_file=ca_file,
            )
        )
        assert (await grant.redeem(None, CLOCK)).access
        assert provider.forms[0]["client_id"] == CLIENT
        other = private(RSA)
        grant.private_key = SecretStr(other)
        with pytest.raises(Misconfigured, match="do not belong together"):
            await grant.redeem(None, CLOCK)


# Forms.


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_makes_a_flat_form_with_help_and_hidden_secrets(kind: type[Grant]) -> None:
    fields: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    inherited = set(kind.__mro__[1].model_fields) if hasattr(kind.__mro__[1], "model_fields") else set()
    for name, field in fields.items():
        assert field.get("type") in {"string", "integer"} or "enum" in field, name
        if name in inherited:
            assert field.get("description"), name
    hidden = set(kind.model_json_schema()["secret_fields"])
    assert {"client_secret", "private_key", "passphrase", "refresh_token"} & set(fields) == hidden


def test_a_flow_can_ask_for_one_of_several_kinds() -> None:
    @flow
    async def connect(system: ToyCredentials | ToyRefresh) -> None:
        """Connect.

        Args:
            system: Which.
        """

    shown = parameter_schema(connect).model_dump_for_openapi()
    assert len(shown["properties"]["system"]["anyOf"]) == 2
    assert shown["definitions"]["ToyCredentials"]["required"] == ["client_id", "client_secret", "address"]


# Microsoft, through its own library.


async def microsoft(provider: Provider, ca_file: str, kind: Any = DefenderLike, **more: Any) -> Grant:
    provider.client_in = "body"
    made = kind(
        client_id=CLIENT,
        client_secret=SecretStr(SECRET),
        tenant="t.example",
        address=provider.url,
        ca_file=ca_file,
        **more,
    )
    return named(made)  # type: ignore[no-any-return]  # a grant


async def test_msal_fetches_a_token_and_fetches_another_when_asked_again(authority: tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    async with Provider().serving(server_tls(ca)) as provider:
        grant = await microsoft(provider, ca_file)
        first = await grant.redeem(None, CLOCK)
        second = await grant.redeem(first, CLOCK)
        assert first.cache
        assert first.access != second.access
        assert provider.alive(second.access)
        assert provider.forms[0]["scope"] == f"{provider.url}/.default"


async def test_msals_refusals_are_ours(authority: tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    async with Provider().serving(server_tls(ca)) as provider:
        grant = await microsoft(provider, ca_file)
        grant.client_secret = SecretStr("another")  # type: ignore[attr-defined]  # Microsoft's
        with pytest.raises(Unauthorized, match="invalid_client"):
            await grant.redeem(None, CLOCK)
        grant = await microsoft(provider, ca_file)
        provider.faults.rates = {"fail": 1.0}
        with pytest.raises(Unavailable, match="Microsoft"):
            await grant.redeem(None, CLOCK)
        grant = await microsoft(provider, "")
        with pytest.raises(Unauthorized, match="certificate is from an authority that is not known"):
            await grant.redeem(None, CLOCK)


async def test_msal_takes_a_certificate_instead_of_a_secret(authority: tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    leaf = ca.issue_cert("client-7", key_type=trustme.KeyType.RSA)
    async with Provider().serving(server_tls(ca)) as provider:
        grant = await microsoft(
            provider,
            ca_file,
            certificate=leaf.cert_chain_pems[0].bytes().decode(),
            private_key=SecretStr(leaf.private_key_pem.bytes().decode().replace("\n", " ")),
        )
        seen: list[dict[str, str]] = []
        provider._client = lambda *sent: seen.append(sent[0])  # type: ignore[method-assign]  # looks only
        assert (await grant.redeem(None, CLOCK)).access
        assert "client_secret" not in seen[0]
        assert seen[0]["client_assertion"].count(".") == 2


async def test_msal_refreshes_what_a_person_authorised_from_its_own_cache(authority: tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    async with Provider().serving(server_tls(ca)) as provider:
        grant = await microsoft(provider, ca_file, DefenderUserLike)
        pair = Pair(refresh=provider.grant())
        for _ in range(3):
            pair = await grant.redeem(pair, CLOCK)
            assert provider.alive(pair.access)
        assert len(set(provider.presented)) == 3
        assert pair.refresh == provider.families[0].current


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_signs_in_at_its_own_place(cloud: Any) -> None:
    made = InCloud(client_id="c", tenant="t.example", address="", cloud=cloud)
    host = (
        "login.chinacloudapi.cn"
        if cloud == "china"
        else f"login.microsoftonline.{'com' if cloud == 'global' else 'us'}"
    )
    assert made.endpoint().token_url == f"https://{host}/t.example/oauth2/v2.0/token"
    assert made.scopes()[0].endswith("/.default")


@pytest.mark.parametrize("tenant", ["", "a/b", "a?b", "x y", "../common", "a#b"])
def test_a_tenant_cannot_lead_elsewhere(tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        DefenderLike(client_id="c", tenant=tenant, address="")


@pytest.mark.parametrize("odd", ["certificate", "key"])
def test_pem_with_a_strange_letter_is_said_without_showing_it(authority: tuple[trustme.CA, str], odd: str) -> None:
    from blocks.oauth.keys import connection_with

    leaf = authority[0].issue_cert("client-7")
    material = {
        "certificate": leaf.cert_chain_pems[0].bytes().decode(),
        "key": leaf.private_key_pem.bytes().decode(),
    }
    material[odd] = material[odd].replace("-----\n", "-----\nü", 1)
    with pytest.raises(Misconfigured, match="cannot be read as PEM") as caught:
        connection_with("https://127.0.0.1", "", material["certificate"], material["key"], "", "toy")
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert not any(line in repr(caught.value) for line in material["key"].splitlines())


def test_a_key_is_in_no_file_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocks.oauth.keys import connection_with

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Misconfigured):
        connection_with("https://127.0.0.1", "", "no", private(RSA), "", "toy")
    assert list(tmp_path.iterdir()) == []
