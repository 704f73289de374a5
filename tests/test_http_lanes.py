"""Connections: found at once, given back, and never poisoned by a request that failed."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from blocks.errors import Misconfigured, Unavailable
from blocks.http import Http
from blocks.lanes import Lanes, proxy_for
from tests.loopback import Asked, reply, serving

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_requests_one_after_the_other_share_a_connection_after_a_crowd() -> None:
    async with serving(lambda _asked, _writer: reply()) as server, Http("tracker", server.url) as http:
        await asyncio.gather(*(http.json("GET", "issue") for _ in range(40)))
        crowd = server.connections
        for _ in range(10):
            await http.json("GET", "issue")
    assert 1 <= crowd <= 16
    assert server.connections == crowd


async def test_a_cancelled_request_costs_its_connection_and_nothing_else() -> None:
    async def slow_first(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target.endswith("slow"):
            await asyncio.sleep(60)
        writer.write(reply())

    async with serving(slow_first) as server, Http("tracker", server.url, concurrency=1) as http:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(http.json("GET", "slow"), 0.05)
            assert await asyncio.wait_for(http.json("GET", "issue"), 5) == {}
    assert server.connections == 4


async def test_a_request_cancelled_within_the_body_costs_nothing_else_either() -> None:
    async def stalls(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target.endswith("slow"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
            await asyncio.sleep(60)
        writer.write(reply())

    async with serving(stalls) as server, Http("tracker", server.url, concurrency=1) as http:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(http.json("GET", "slow"), 0.05)
            assert await asyncio.wait_for(http.json("GET", "issue"), 5) == {}


async def test_a_server_that_comes_back_is_found_again() -> None:
    async with serving(lambda _asked, _writer: reply()) as server:
        port = server.port
    async with Http("tracker", f"http://127.0.0.1:{port}/") as http:
        for _ in range(20):
            with pytest.raises(Unavailable):
                await http.json("GET", "issue")
        again = await asyncio.start_server(_greet, "127.0.0.1", port)
        async with again:
            assert await http.json("GET", "issue") == {}


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(reply(Connection="close"))
    writer.close()


class Counted(httpx.MockTransport):
    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_connection_that_failed_is_closed_and_not_used_again() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone")

    made = [Counted(fail), Counted(lambda _request: httpx.Response(200, content=_forever()))]
    left = iter(made)
    async with Lanes(lambda: next(left)) as lanes:
        with pytest.raises(httpx.ReadError):
            await lanes.handle_async_request(httpx.Request("GET", "http://tracker/"))
        assert [one.closed for one in made] == [1, 0]
        assert (await lanes.handle_async_request(httpx.Request("GET", "http://tracker/"))).status_code == 200


async def test_closing_closes_what_is_on_its_way_too() -> None:
    made = [Counted(lambda _request: httpx.Response(200, content=_forever())) for _ in range(2)]
    left = iter(made)
    async with Lanes(lambda: next(left)) as lanes:
        for _ in range(2):
            await lanes.handle_async_request(httpx.Request("GET", "http://tracker/"))
    assert [one.closed for one in made] == [1, 1]


async def _forever() -> AsyncIterator[bytes]:
    while True:
        yield b"x"


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(lambda _asked, _writer: reply()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with Http("tracker", "http://tracker.invalid/api/") as http:
            assert await http.json("GET", "issue") == {}
    assert proxy.asked[0].target == "http://tracker.invalid/api/issue"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://tracker.example/", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://tracker.example/", "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://tracker.example/", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://tracker.example/", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://tracker.example/", "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "example"}, "http://tracker.example/", None),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "http://tracker.example/", None),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(httpx.URL(url)) == proxy


@pytest.mark.parametrize("proxy", ["ftp://me:hidden@proxy", "socks5://me:hidden@proxy"])
def test_a_proxy_that_cannot_be_used_is_misconfigured(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(Misconfigured, match="the proxy's") as caught:
        Http("tracker", "http://tracker/")
    assert "hidden" not in str(caught.value)
    assert caught.value.__context__ is None
