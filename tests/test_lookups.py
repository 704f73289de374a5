"""Look-ups: a connector asks its vendor once for many cycles, with the store's cache or without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import Unavailable
from blocks.lookups import LASTS, Keeper, Lookups, Memory
from blocks.store import Database
from blocks.store.cache import Cache
from blocks.store.crypto import new_key


class Vendor:
    """Answers the incident fields that it has, and counts the calls."""

    def __init__(self) -> None:
        self.calls, self.fields, self.away = 0, ["severity"], False

    async def ask(self) -> list[str]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("not now")
        return list(self.fields)


class Keepers:
    """A keeper for each cycle's connection, and a clock."""

    def __init__(self, make: Callable[[], Keeper]) -> None:
        self.make, self.at = make, datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(params=["memory", "cache"])
def keepers(request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch) -> Keepers:
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())
    kept = Keepers(lambda: Cache(database, "xsoar", now=lambda: kept.at))
    if request.param == "memory":

        def now() -> float:
            return kept.at.timestamp()

        memory = Memory(now)
        kept.make = lambda: memory
    return kept


async def test_what_is_kept_is_not_asked_again(keepers: Keepers) -> None:
    vendor = Vendor()
    for _ in range(5):
        assert await Lookups(keepers.make()).get("fields", vendor.ask) == ["severity"]
    assert vendor.calls == 1


async def test_many_who_ask_at_once_are_one_call(keepers: Keepers) -> None:
    vendor, lookups = Vendor(), Lookups(keepers.make())
    assert await asyncio.gather(*(lookups.get("fields", vendor.ask) for _ in range(20))) == [["severity"]] * 20
    assert vendor.calls == 1


async def test_after_its_time_it_is_asked_again(keepers: Keepers) -> None:
    vendor, lookups = Vendor(), Lookups(keepers.make())
    await lookups.get("fields", vendor.ask)
    vendor.fields.append("new")
    keepers.at += LASTS - timedelta(seconds=1)
    assert await lookups.get("fields", vendor.ask) == ["severity"]
    keepers.at += timedelta(seconds=1)
    assert await lookups.get("fields", vendor.ask) == ["severity", "new"]


async def test_what_proved_wrong_is_asked_anew(keepers: Keepers) -> None:
    vendor, lookups = Vendor(), Lookups(keepers.make())
    await lookups.get("fields", vendor.ask)
    vendor.fields.append("new")
    assert await lookups.again("fields", vendor.ask) == ["severity", "new"]
    assert await lookups.get("fields", vendor.ask) == ["severity", "new"]
    assert vendor.calls == 2


async def test_an_error_is_kept_for_nobody(keepers: Keepers) -> None:
    vendor, lookups = Vendor(), Lookups(keepers.make())
    vendor.away = True
    with pytest.raises(Unavailable):
        await lookups.get("fields", vendor.ask)
    vendor.away = False
    assert await lookups.get("fields", vendor.ask) == ["severity"]


async def test_without_a_keeper_each_connection_asks_once() -> None:
    vendor = Vendor()
    for _ in range(3):
        connection = Lookups()
        for _ in range(3):
            await connection.get("fields", vendor.ask)
    assert vendor.calls == 3
