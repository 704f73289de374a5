"""What a run of chaos over tokens owes: as much of each as was asked, and nothing wrong."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from urllib.parse import urlsplit

import httpx
import pytest

from chaos.tokens_report import STEPS, Result, Shares, report
from tests.fakes.provider import Provider
from tests.grants import provider

__all__ = ["provider"]

ASKED = Shares.of(100)


def done(**less: int) -> Result:
    """All that was asked, less this."""
    counts = {"kills": 100, "cancels": 96, "prefect stops": len(STEPS), "races": 20}
    found = Result(Counter({what: n - less.get(what.replace(" ", "_"), 0) for what, n in counts.items()}))
    found.awaits = 60
    found.cancelled_at = set(range(59))
    return found


def test_a_run_that_did_all_of_it_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(done(), [], 0, ASKED)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["races"] == 20


@pytest.mark.parametrize("less", [{"kills": 1}, {"cancels": 7}, {"prefect_stops": 1}, {"races": 1}])
def test_a_run_that_did_too_little_is_not_well(less: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    assert not report(done(**less), [], 0, ASKED)
    assert "too little" in capsys.readouterr().out


def test_fewer_cancellations_are_enough_where_each_await_was_met() -> None:
    found = done(cancels=20)
    found.cancelled_at = set(range(60))
    assert report(found, [], 0, ASKED)
    found.awaits = 0
    assert not report(found, [], 0, ASKED)


@pytest.mark.parametrize("wrong", ["lost", "different", "errors"])
def test_what_is_wrong_makes_no_run_well(wrong: str) -> None:
    found = done()
    getattr(found, wrong).append("this")
    assert not report(found, [], 0, ASKED)
    assert not report(done(), ["presented without a note"], 0, ASKED)
    assert not report(done(), [], 1, ASKED)


@pytest.mark.parametrize("sent", [b"", b"grant_type=refresh_token&refresh_token=r"])
async def test_what_a_dying_process_sent_by_half_is_no_presentation(provider: Provider, sent: bytes) -> None:
    seen: list[str] = []
    provider.watch = lambda route, _: seen.append(route)
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(provider.url).port)
    kind = b"content-type: application/x-www-form-urlencoded"
    writer.write(b"POST /token HTTP/1.1\r\nhost: x\r\n" + kind + b"\r\ncontent-length: 100\r\n\r\n" + sent)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    async with httpx.AsyncClient() as web:
        await web.get(f"{provider.url}/api")
    assert seen == ["api"]
    assert provider.calls["token"] == 0


def test_a_short_run_has_some_of_each_and_a_long_one_all() -> None:
    short = Shares.of(6)
    assert (short.kills, short.cancels, len(short.steps), short.races) == (6, 6, 3, 4)
    assert "after redeem" in short.steps
    assert [len(Shares.of(kills).steps) for kills in (1, 12, 20, 100)] == [1, 6, 12, 12]
    assert Shares.of(1000).races == 200
