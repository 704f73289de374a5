"""The HTTP client against a server on loopback: what each answer, or none, becomes."""

import asyncio
import gzip
from collections.abc import Callable, Generator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from blocks.errors import (
    LockstepError,
    Misconfigured,
    NotFound,
    Refused,
    Stale,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from blocks.http import Clock, Http
from tests.loopback import MIB, Asked, failure_of, reply, talking

# Answers that are well


async def test_json_comes_parsed_and_the_path_is_below_the_address() -> None:
    async with talking(reply(body=b'{"id": "42"}')) as (http, server):
        assert await http.json("GET", "issue/42", params={"q": "a b"}) == {"id": "42"}
    assert server.asked[0].target in {"/api/issue/42?q=a+b", "/api/issue/42?q=a%20b"}


async def test_a_write_that_is_answered_with_nothing_gives_none() -> None:
    async with talking(reply(204, b"")) as (http, _):
        assert await http.json("PUT", "issue/42", json={}) is None


async def test_one_connection_serves_many_requests() -> None:
    async with talking(reply()) as (http, server):
        for _ in range(5):
            await http.json("GET", "issue")
    assert (len(server.asked), server.connections) == (5, 1)


async def test_not_more_requests_run_at_a_time_than_the_system_may_get() -> None:
    now, most = 0, 0

    async def slow(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(reply())

    async with talking(slow, concurrency=3) as (http, server):
        await asyncio.gather(*(http.json("GET", "issue") for _ in range(12)))
    assert most == 3
    assert server.connections == 3


async def test_a_compressed_answer_is_read_in_all_its_members() -> None:
    body = gzip.compress(b'{"a":') + gzip.compress(b"1}") + b"\0" * 8
    async with talking(reply(body=body, Content_Encoding="gzip")) as (http, _):
        assert await http.json("GET", "issue") == {"a": 1}


async def test_an_unchanged_answer_is_no_failure() -> None:
    async with talking(reply(304, b"")) as (http, _):
        answer = await http.call("GET", "issue", headers={"If-None-Match": '"1"'})
    assert answer.status_code == 304


async def test_a_file_comes_in_pieces_and_has_a_limit_of_its_own() -> None:
    async with talking(reply(body=b"x" * MIB, kind="image/png"), max_bytes=1000) as (http, _):
        pieces = [piece async for piece in http.stream_bytes("GET", "file/1", max_bytes=2 * MIB)]
        with pytest.raises(Unreadable, match="larger than 1000 bytes"):
            await http.call("GET", "file/1")
        with pytest.raises(Unreadable, match="larger than 5000 bytes"):
            async for _ in http.stream_bytes("GET", "file/1", max_bytes=5000):
                pass
    assert b"".join(pieces) == b"x" * MIB


async def test_a_file_that_is_left_half_read_gives_its_place_back() -> None:
    async with talking(reply(body=b"x" * MIB), concurrency=1) as (http, _):
        async with aclosing(http.stream_bytes("GET", "file/1")) as file:
            assert await anext(file)
        assert len((await http.call("GET", "file/1")).content) == MIB


# Statuses


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (405, Refused),
        (408, Unavailable),
        (409, Stale),
        (410, NotFound),
        (412, Stale),
        (413, Refused),
        (415, Refused),
        (418, Refused),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
    ],
)
async def test_each_status_is_the_error_that_tells_what_to_do_next(status: int, error: type[LockstepError]) -> None:
    caught = await failure_of(reply(status, b'{"error": {"status": 400, "msg": "no such property"}}'))
    assert type(caught) is error
    assert (caught.status, caught.system, caught.call, caught.id) == (status, "tracker", "GET /api/issue/42", "42")
    assert f"answered {status}" in str(caught)
    assert "no such property" in str(caught)
    if isinstance(caught, Unavailable):
        assert caught.sent == (status != 429)


async def test_plain_httpx_calls_raise_our_errors_too() -> None:
    async with talking(reply(404)) as (http, _):
        with pytest.raises(NotFound, match="GET /api/issue/7"):
            await http.get("issue/7")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errorMessages": ["Field is required"], "errors": {"priority": "Not a priority"}}', "Field is required"),
        (b'{"error": "invalid_query", "error_description": "Unexpected token"}', "Unexpected token"),
        (b'{"detail": "Attribute is read-only", "schemas": ["urn:x"]}', "Attribute is read-only"),
        (b"plain words", "plain words"),
        (b"[" * 500 + b"1" + b"]" * 500, "answered 400"),
        (b"\xff\xfe", "answered 400"),
    ],
)
async def test_a_vendors_message_is_found_in_what_it_sends(body: bytes, words: str) -> None:
    assert words in str(await failure_of(reply(400, body)))


async def test_a_refusal_names_the_fields_that_the_vendor_names() -> None:
    caught = await failure_of(reply(400, b'{"errorMessages": [], "errors": {"priority": "Not a priority"}}'))
    assert isinstance(caught, Refused)
    assert caught.fields == {"priority": "Not a priority"}


async def test_a_vendors_message_is_short_on_one_line_and_free_of_control_characters() -> None:
    body = "first\r\nsecond\x1b[31m\u202e" + "x" * 5000
    caught = await failure_of(reply(400, body.encode(), "text/plain"))
    assert "first second[31mx" in caught.message
    assert len(caught.message) < 330


async def test_a_page_of_html_gives_no_words() -> None:
    caught = await failure_of(reply(502, b"<html>Bad gateway</html>", "text/html"))
    assert caught.message == "answered 502"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://elsewhere.example/login?token=abcdef", "to https://elsewhere.example;"),
        ("/other", "to another path of the same host"),
        ("", "to another path of the same host"),
    ],
)
async def test_a_redirect_is_not_followed_and_says_where_to(location: str, words: str) -> None:
    async with talking(reply(302, b"", Location=location)) as (http, server):
        with pytest.raises(Misconfigured, match=words) as caught:
            await http.get("issue", follow_redirects=True)
    assert "abcdef" not in str(caught.value)
    assert len(server.asked) == 1


# Settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: Http("tracker", "http://host:port/"),
        lambda: Http("tracker", "http://host/", headers={"X-Api-Key": "clé"}),
        lambda: Http("tracker", "https://host/", ca_file="/nowhere/ca.pem"),
        lambda: Http("tracker", "https://host/", ca_file=__file__),
    ],
)
def test_settings_that_cannot_work_are_misconfigured(make: Callable[[], Http]) -> None:
    with pytest.raises(Misconfigured):
        make()


@pytest.mark.parametrize("address", ["tracker.example/", "ftp://tracker.example/"])
async def test_an_address_without_http_is_misconfigured(address: str) -> None:
    async with Http("tracker", address) as http:
        with pytest.raises(Misconfigured, match="must begin with https://"):
            await http.json("GET", "issue")


# The system's clock


async def test_skew_follows_the_last_date_that_could_be_read() -> None:
    dates = iter(["Tue, 24 Nov 2026 04:02:00 GMT", "nonsense", None])
    four = datetime(2026, 11, 24, 4, 0, 0, 300_000, tzinfo=UTC).timestamp()

    def answer(_asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        date = next(dates)
        return reply(Date=date) if date else reply()

    async with talking(answer, clock=Clock(now=lambda: four)) as (http, _):
        seen = [http.skew]
        for _ in range(3):
            await http.json("GET", "issue")
            seen.append(http.skew)
    assert seen == [timedelta(0), *[timedelta(minutes=2)] * 3]


async def test_an_auth_sees_a_401_before_it_becomes_an_error() -> None:
    class Refreshing(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["Authorization"] = "Bearer old"
            answer = yield request
            if answer.status_code == 401:
                request.headers["Authorization"] = "Bearer new"
                yield request

    def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply() if asked.headers["authorization"] == "Bearer new" else reply(401)

    async with talking(answer, auth=Refreshing()) as (http, server):
        assert await http.json("GET", "issue") == {}
    assert len(server.asked) == 2
