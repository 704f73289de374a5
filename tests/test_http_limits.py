"""How the HTTP client keeps to what a system can bear, on a clock that the tests turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from blocks.errors import Unavailable
from blocks.http import Clock, Http, RateLimit
from blocks.ratelimit import http_date, retry_after

START = datetime(2026, 11, 24, 4, 0, tzinfo=UTC).timestamp()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: START + self.passed, monotonic=lambda: self.passed, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds


def client(time: Time, answer: Callable[[httpx.Request], httpx.Response], *limits: RateLimit, wait: float = 60) -> Http:
    transport = httpx.MockTransport(answer)
    return Http("tracker", "http://tracker/", limits=limits, transport=transport, clock=time.clock, max_wait=wait)


class Script:
    """Answers in this order, then 200 for ever."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers, self.calls = list(answers), 0

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return self.answers.pop(0) if self.answers else httpx.Response(200, json={})


def said(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()}, json={})


async def test_a_short_retry_after_is_waited_for_and_the_request_sent_again() -> None:
    time, script = Time(), Script(said(429, Retry_After="7"))
    async with client(time, script) as http:
        assert await http.json("GET", "issue") == {}
    assert (script.calls, time.slept) == (2, [7.0])


async def test_a_retry_after_of_0_is_a_wait_below_a_second() -> None:
    time, script = Time(), Script(said(429, Retry_After="0"))
    async with client(time, script) as http:
        assert await http.json("GET", "issue") == {}
    assert (script.calls, time.slept) == (2, [1.0])


async def test_retry_after_as_a_date_is_read_by_the_systems_own_clock() -> None:
    ahead = START + 3600
    date, until = (format_datetime(datetime.fromtimestamp(t, UTC), usegmt=True) for t in (ahead, ahead + 9))
    time, script = Time(), Script(said(429, Retry_After=until, Date=date))
    async with client(time, script) as http:
        await http.json("GET", "issue")
    assert time.slept == [9.0]


async def test_a_429_is_tried_again_twice_at_most() -> None:
    time, script = Time(), Script(*[said(429, Retry_After="5")] * 9)
    async with client(time, script) as http:
        with pytest.raises(Unavailable) as caught:
            await http.json("GET", "issue")
    assert (script.calls, time.slept) == (3, [5.0, 5.0])
    assert (caught.value.retry_after, caught.value.sent) == (5.0, False)


async def test_a_429_without_a_time_is_raised_at_once() -> None:
    time, script = Time(), Script(said(429))
    async with client(time, script) as http:
        with pytest.raises(Unavailable) as caught:
            await http.json("GET", "issue")
    assert (script.calls, time.slept, caught.value.retry_after) == (1, [], None)


async def test_a_long_retry_after_is_raised_and_so_is_every_request_until_then() -> None:
    time, script = Time(), Script(said(429, Retry_After="600"))
    async with client(time, script) as http:
        with pytest.raises(Unavailable) as first:
            await http.json("GET", "issue")
        time.passed += 100
        with pytest.raises(Unavailable, match="wait 500 s more") as second:
            await http.json("GET", "issue/1", id="1")
        assert script.calls == 1
        time.passed += 500
        assert await http.json("GET", "issue") == {}
    assert first.value.retry_after == 600
    assert (second.value.retry_after, second.value.sent, second.value.id) == (500, False, "1")
    assert time.slept == []


async def test_a_503_is_not_tried_again_but_the_others_wait_as_it_asks() -> None:
    time, script = Time(), Script(said(503, Retry_After="30"))
    async with client(time, script) as http:
        with pytest.raises(Unavailable) as caught:
            await http.json("POST", "issue", json={})
        assert script.calls == 1
        await http.json("GET", "issue")
    assert (caught.value.retry_after, caught.value.sent) == (30.0, True)
    assert time.slept == [30.0]


@pytest.mark.parametrize("status", [500, 502, 504, 409, 400])
async def test_nothing_else_is_tried_again(status: int) -> None:
    time, script = Time(), Script(said(status, Retry_After="1"))
    async with client(time, script) as http:
        with pytest.raises(Exception, match=f"answered {status}"):
            await http.json("GET", "issue")
    assert (script.calls, time.slept) == (1, [])


async def test_a_body_that_cannot_be_sent_twice_is_not_and_says_so() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    async def reading(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return said(429, Retry_After="1")

    time = Time()
    transport = httpx.MockTransport(reading)
    async with Http("tracker", "http://tracker/", transport=transport, clock=time.clock) as http:
        with pytest.raises(Unavailable) as caught:
            await http.call("POST", "file", content=body())
    assert caught.value.sent is False


@pytest.mark.parametrize(
    ("limit", "reset"),
    [
        (RateLimit(), "20"),
        (RateLimit("ratelimit-remaining", "ratelimit-reset"), "20"),
        (RateLimit(reset_is="epoch"), str(int(START) + 20)),
        (RateLimit(reset_is="iso"), "2026-11-24T04:00:20Z"),
        (RateLimit(reset_is="iso"), "2026-11-24T04:00:20"),
    ],
)
async def test_when_nothing_remains_the_next_request_waits_for_the_reset(limit: RateLimit, reset: str) -> None:
    last = httpx.Response(200, headers={limit.remaining: "0", limit.reset: reset}, json={})
    time, script = Time(), Script(last)
    async with client(time, script, limit) as http:
        await http.json("GET", "issue")
        assert time.slept == []
        await http.json("GET", "issue")
    assert (script.calls, time.slept) == (2, [20.0])


async def test_a_reset_that_is_far_away_is_raised_without_sending() -> None:
    time, script = Time(), Script(said(200, X_RateLimit_Remaining="0", X_RateLimit_Reset="3600"))
    async with client(time, script, RateLimit()) as http:
        await http.json("GET", "issue")
        with pytest.raises(Unavailable) as caught:
            await http.json("GET", "issue")
    assert (script.calls, caught.value.retry_after, caught.value.sent) == (1, 3600.0, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"X_RateLimit_Remaining": "0"},
        {"X_RateLimit_Remaining": "none", "X_RateLimit_Reset": "20"},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "soon"},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "nan"},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "inf"},
    ],
)
async def test_limits_that_cannot_be_read_are_ignored(headers: dict[str, str]) -> None:
    time, script = Time(), Script(said(200, **headers))
    async with client(time, script, RateLimit()) as http:
        await http.json("GET", "issue")
        await http.json("GET", "issue")
    assert (script.calls, time.slept) == (2, [])


class Windows:
    """A server that takes five requests in each 10 s, however many come at a time."""

    limit, seconds = 5, 10.0

    def __init__(self, time: Time) -> None:
        self.time, self.begin, self.used = time, 0.0, 0
        self.served, self.refused, self.out, self.most = 0, 0, 0, 0

    async def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.out += 1
        self.most = max(self.most, self.out)
        for _ in range(3):
            await asyncio.sleep(0)
        self.out -= 1
        if self.time.passed >= self.begin + self.seconds:
            self.begin, self.used = self.time.passed, 0
        self.used += 1
        self.served += 1
        self.refused += self.used > self.limit
        left, reset = self.limit - self.used, self.begin + self.seconds - self.time.passed
        return said(200, X_RateLimit_Remaining=str(left), X_RateLimit_Reset=str(reset))


async def test_requests_on_their_way_count_so_that_many_at_a_time_never_overrun_a_limit() -> None:
    time = Time()
    server = Windows(time)
    transport = httpx.MockTransport(server)
    async with Http("tracker", "http://tracker/", limits=RateLimit(), transport=transport, clock=time.clock) as http:
        await http.json("GET", "issue")
        await asyncio.gather(*(http.json("GET", "issue") for _ in range(22)))
    assert (server.served, server.refused) == (23, 0)
    assert server.most == 4
    assert time.passed == 40


async def test_limits_that_are_no_longer_told_are_forgotten_after_their_reset() -> None:
    time, out, most = Time(), 0, 0

    async def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal out, most
        out += 1
        most = max(most, out)
        await asyncio.sleep(0)
        out -= 1
        return said(200, X_RateLimit_Remaining="1", X_RateLimit_Reset="9") if time.passed < 10 else said(200)

    transport = httpx.MockTransport(answer)
    async with Http("tracker", "http://tracker/", limits=RateLimit(), transport=transport, clock=time.clock) as http:
        await http.json("GET", "issue")
        await asyncio.gather(*(http.json("GET", "issue") for _ in range(4)))
        assert most == 1
        time.passed = 10
        await http.json("GET", "issue")
        await asyncio.gather(*(http.json("GET", "issue") for _ in range(4)))
        assert most == 4


async def test_a_request_that_fails_does_not_count_for_ever() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/broken":
            raise httpx.ReadError("gone")
        return said(200, X_RateLimit_Remaining="1", X_RateLimit_Reset="1000")

    time = Time()
    async with client(time, answer, RateLimit()) as http:
        await http.json("GET", "issue")
        for _ in range(3):
            with pytest.raises(Unavailable):
                await http.json("GET", "broken")
        assert await asyncio.wait_for(http.json("GET", "issue"), 1) == {}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("9" * 400, 999_999_999.0),
        ("1.5", None),
        ("-3", None),
        ("²", None),
        ("Tue, 24 Nov 2026 04:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 03:00:00 GMT", 0.0),
        ("Tuesday, 24-Nov-26 04:00:30 GMT", 30.0),
        ("never", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, START) == seconds


def test_a_date_beyond_all_calendars_is_none() -> None:
    assert http_date("Tue, 24 Nov 99999 04:00:00 GMT") is None
