"""No secret in any error, log or repr, whatever a server sends back."""

import asyncio
import html
import json
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import LockstepError, Misconfigured, Refused
from blocks.http import Http
from blocks.redaction import credentials, fit
from tests.loopback import Asked, reply, serving

PASSWORD = 'S3cr&t p+"ss'
TOKEN = "eyJhbGciOi.J9-token"
KEY = "k-8231-9921-aa"
FORMS: tuple[Callable[[str], str], ...] = (str, str.upper, quote, quote_plus, html.escape, json.dumps)

Call = Callable[[Http], Awaitable[object]]


def everything_of(error: BaseException) -> str:
    """All that a log, a page or a debugger would show of an error and of those behind it."""
    seen: list[str] = []
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is not None:
            seen += [str(one), repr(one), repr(vars(one)), repr(one.args), *traceback.format_exception(one)]
            queue += [one.__cause__, one.__context__]
    return "\n".join(seen)


def shows(text: str, secret: str) -> bool:
    return any(form(secret).strip('"').lower() in text.lower() for form in FORMS)


@pytest.mark.parametrize(
    ("settings", "call", "secrets"),
    [
        ({"auth": ("me", PASSWORD)}, lambda http: http.json("GET", "x"), [PASSWORD]),
        ({}, lambda http: http.get("x", auth=("me", PASSWORD)), [PASSWORD]),
        ({"headers": {"Authorization": f"Bearer {TOKEN}"}}, lambda http: http.json("GET", "x"), [TOKEN]),
        ({"headers": {"Authorization": KEY, "X-Auth-Id": "7"}}, lambda http: http.json("GET", "x"), [KEY]),
        ({"headers": {"X-API-Key": KEY}}, lambda http: http.json("GET", "x"), [KEY]),
        ({}, lambda http: http.json("GET", "x", headers={"Cookie": f"a={KEY}; b={TOKEN}"}), [KEY, TOKEN]),
        ({}, lambda http: http.json("GET", "x", params={"api_key": KEY, "token": TOKEN}), [KEY, TOKEN]),
        ({}, lambda http: http.json("POST", "x", data={"client_secret": KEY, "code": TOKEN}), [KEY, TOKEN]),
        ({}, lambda http: http.json("POST", "x", json={"a": [{"password": PASSWORD}]}), [PASSWORD]),
    ],
)
async def test_a_server_that_repeats_all_it_was_sent_betrays_nothing(
    settings: dict[str, Any],
    call: Call,
    secrets: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blocks.answers.WORDS", 100_000)
    caplog.set_level(logging.DEBUG)

    def echo(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        said = [asked.target, *asked.headers.values(), asked.body.decode()]
        said += [form(secret) for secret in secrets for form in FORMS]
        return reply(400, json.dumps({"message": "\n".join(said), "errors": {"x": said[-1]}}).encode())

    async with serving(echo) as server, Http("tracker", server.url, **settings) as http:
        with pytest.raises(Refused) as caught:
            await call(http)
        shown = everything_of(caught.value) + repr(http) + caplog.text
    assert "127.0.0.1" in caught.value.message
    assert "***" in caught.value.message
    assert not [secret for secret in secrets if shows(shown, secret)]
    assert "Basic bWU6" not in shown


async def test_a_secret_in_the_address_is_in_no_error_repr_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(lambda asked, _writer: reply(400, asked.target.encode(), "text/plain")) as server:
        address = server.url.replace("//", f"//me:{KEY}@")
        async with Http(address, address) as http:
            with pytest.raises(Refused) as caught:
                await http.json("GET", "x", params={"sig": TOKEN})
            shown = everything_of(caught.value) + repr(http) + caplog.text
    assert not shows(shown, KEY)
    assert not shows(shown, TOKEN)
    assert repr(http) == f"<Http http://***@127.0.0.1:{server.port}/api/ 127.0.0.1>"


async def test_the_loggers_of_httpx_keep_still_about_addresses(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(lambda _asked, _writer: reply()) as server, Http("tracker", server.url) as http:
        await http.json("GET", "x", params={"token": TOKEN}, headers={"X-API-Key": KEY})
    assert server.asked[0].target.endswith(TOKEN)
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
    assert not shows(caplog.text, TOKEN)


def _line_break() -> Http:
    return Http("tracker", "http://127.0.0.1:9/", headers={"X-API-Key": f"{KEY}\nX: y"})


def _letters() -> Http:
    return Http("tracker", "http://127.0.0.1:9/", headers={"X-API-Key": f"{KEY}é"})


def _port() -> Http:
    return Http("tracker", f"http://me:{KEY}@host:port/")


@pytest.mark.parametrize("make", [_line_break, _letters, _port])
async def test_a_secret_that_cannot_be_sent_is_not_shown_as_the_reason(make: Callable[[], Http]) -> None:
    async with serving(lambda _asked, _writer: reply()) as server:
        with pytest.raises(Misconfigured) as caught:
            async with make() as http:
                await http.json("GET", f"http://127.0.0.1:{server.port}/x")
    assert not shows(everything_of(caught.value), KEY)


async def test_a_header_of_one_call_that_cannot_be_sent_is_not_shown() -> None:
    async with Http("tracker", "http://127.0.0.1:9/") as http:
        with pytest.raises(Misconfigured) as caught:
            await http.json("GET", "x", headers={"X-API-Key": f"{KEY}é"})
    assert not shows(everything_of(caught.value), KEY)


@pytest.mark.parametrize("failure", [httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError])
async def test_what_the_library_says_of_a_failure_is_not_passed_on(failure: type[httpx.TransportError]) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure(f"while sending {KEY}")

    async with Http("tracker", "http://tracker/", transport=httpx.MockTransport(fail)) as http:
        with pytest.raises(LockstepError) as caught:
            await http.json("GET", "x")
    assert not shows(everything_of(caught.value), KEY)


async def test_secrets_of_an_earlier_try_of_an_auth_are_hidden_too() -> None:
    class Refreshing(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Any:
            yield httpx.Request("POST", request.url, data={"refresh_token": KEY})
            yield request

    def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply(200 if asked.method == "POST" else 400, f"bad: {KEY}".encode(), "text/plain")

    async with serving(answer) as server, Http("tracker", server.url, auth=Refreshing()) as http:
        with pytest.raises(Refused, match=r"bad: \*\*\*") as caught:
            await http.json("GET", "x")
    assert not shows(everything_of(caught.value), KEY)


async def test_a_secret_as_a_content_type_is_not_shown() -> None:
    async with (
        serving(lambda _asked, _writer: reply(200, b"no JSON", KEY)) as server,
        Http("tracker", server.url, headers={"X-API-Key": KEY}) as http,
    ):
        with pytest.raises(LockstepError, match=r"\*\*\*") as caught:
            await http.json("GET", "x")
    assert not shows(everything_of(caught.value), KEY)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("author", False),
        ("close_code", False),
        ("keyword", False),
        ("sort", False),
        ("password", True),
        ("client_secret", True),
        ("access_token", True),
        ("apikey", True),
        ("X-Api-Key", True),
        ("signature", True),
        ("client_assertion", True),
        ("code", True),
    ],
)
def test_names_tell_what_is_secret(name: str, secret: bool) -> None:  # noqa: FBT001
    request = httpx.Request("GET", "http://tracker/", params={name: "resolved by caller"})
    assert ("resolved by caller" in credentials(request)) == secret


@given(
    secret=st.text("abcXYZ0189&%+/=<\"'", min_size=4, max_size=20),
    noise=st.text("abcXYZ0189 \x00\u202e\n", max_size=30),
    between=st.sampled_from(["", "\x00", "\u202e", "\x1b"]),
)
def test_a_secret_is_never_brought_into_view_by_cleaning(secret: str, noise: str, between: str) -> None:
    shown = fit(f"{noise}{between.join(secret)}{noise}", {secret}, 1000)
    assert secret.lower() not in shown.lower()


@pytest.mark.parametrize("secret", ["two  spaces", "a\ttab", "a\u00a0no-break space"])
def test_a_secret_with_spaces_is_hidden_before_they_are_made_one(secret: str) -> None:
    assert fit(f"bad: {secret}", {secret}, 100) == "bad: ***"
