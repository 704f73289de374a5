"""The integration cache: typed values that expire, compare-and-set, encryption, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from blocks.errors import Misconfigured, Refused, Stale
from blocks.store import Database
from blocks.store.cache import ITEM, LARGEST, SWEEP, Cache
from blocks.store.crypto import new_key

HOUR = timedelta(hours=1)
KEY = new_key()
VALUES = ["text", "", 7, 1.5, True, None, [1, "a", None], {"a": {"b": []}}, b"", b"\0\xff", "ünï\0code", 2**62]


class Clock:
    """Tells the time that a test sets."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def go(self, by: timedelta) -> None:
        self.at += by


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", KEY)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(database: Database, clock: Clock) -> Cache:
    return Cache(database, "jira", now=clock)


async def value(cache: Cache, name: str) -> Any:
    kept = await cache.get(name)
    return kept and kept.value


async def rows(database: Database) -> list[Any]:
    async with database.read() as connection:
        return list(await connection.execute(select(ITEM)))


@pytest.mark.parametrize("kept", VALUES, ids=repr)
async def test_a_value_comes_back_as_its_own_type(cache: Cache, kept: Any) -> None:
    await cache.set("a", kept)
    found = await cache.get("a")
    assert found is not None
    assert (type(found.value), found.value) == (type(kept), kept)


@pytest.mark.parametrize(
    "odd", [(1,), {1: "a"}, {"a": datetime(2026, 1, 1, tzinfo=UTC)}, float("nan"), 2**64, object(), "\ud800", {"a"}]
)
async def test_what_would_come_back_as_something_else_is_refused(cache: Cache, odd: Any) -> None:
    with pytest.raises(Refused, match="'a' is no value that comes back from JSON"):
        await cache.set("a", odd)


async def test_what_was_never_kept_is_not_there(cache: Cache) -> None:
    assert await cache.get("a") is None
    assert not await cache.delete("a")


async def test_integrations_do_not_see_each_other(database: Database, cache: Cache) -> None:
    other = Cache(database, "servicenow")
    await cache.set("a", 1)
    await other.set("a", 2)
    assert (await value(cache, "a"), await value(other, "a")) == (1, 2)
    assert await other.clear() == 1
    assert await value(cache, "a") == 1


async def test_a_value_is_gone_in_the_moment_in_which_it_expires(cache: Cache, clock: Clock) -> None:
    await cache.set("a", 1, HOUR)
    clock.go(HOUR - timedelta(microseconds=1))
    assert await value(cache, "a") == 1
    clock.go(timedelta(microseconds=1))
    assert await cache.get("a") is None
    assert await cache.items() == []
    assert not await cache.delete("a")


async def test_a_value_that_is_set_again_has_its_new_time(cache: Cache, clock: Clock) -> None:
    await cache.set("a", 1, HOUR)
    await cache.set("a", 2)
    clock.go(1000 * HOUR)
    kept = await cache.get("a")
    assert kept is not None
    assert (kept.value, kept.expires) == (2, None)


async def test_each_write_has_a_version_of_its_own_also_after_a_delete(cache: Cache) -> None:
    versions = [await cache.set("a", 1), await cache.set("a", 1), await cache.set("b", 1)]
    await cache.delete("a")
    versions.append(await cache.set("a", 1))
    assert len(set(versions)) == 4
    kept = await cache.get("a")
    assert kept is not None
    assert kept.version == versions[-1]


async def test_set_if_absent_keeps_what_is_there(cache: Cache, clock: Clock) -> None:
    assert await cache.set_if_absent("a", 1, HOUR)
    assert await cache.set_if_absent("a", 2) is None
    assert await value(cache, "a") == 1
    clock.go(HOUR)
    assert await cache.set_if_absent("a", 3)
    assert await value(cache, "a") == 3


async def test_compare_and_set_writes_in_the_place_of_what_was_read_alone(cache: Cache) -> None:
    version = await cache.set("a", 1)
    newer = await cache.compare_and_set("a", 2, version)
    with pytest.raises(Stale, match="'a' is no longer at version"):
        await cache.compare_and_set("a", 3, version)
    assert await value(cache, "a") == 2
    assert await cache.compare_and_set("a", 4, newer) > newer


async def test_compare_and_set_does_not_take_another_value_for_the_one_that_was_read(
    cache: Cache, clock: Clock
) -> None:
    version = await cache.set("a", 1, HOUR)
    await cache.delete("a")
    await cache.set("a", 1, HOUR)
    for _ in ("another came in its place", "it expired"):
        with pytest.raises(Stale):
            await cache.compare_and_set("a", 2, version)
        clock.go(HOUR)


async def test_what_is_kept_is_listed_by_name_with_its_size(cache: Cache, clock: Clock) -> None:
    await cache.set("b", b"12345", HOUR)
    await cache.set("a", "123")
    found = [(item.name, item.size, item.expires) for item in await cache.items()]
    assert found == [("a", 5, None), ("b", 5, clock() + HOUR)]


async def test_all_of_an_integration_is_forgotten_at_once(cache: Cache, clock: Clock, database: Database) -> None:
    for name in "abc":
        await cache.set(name, 1, HOUR)
    clock.go(HOUR)
    await cache.set("d", 1)
    assert await cache.clear() == 1
    assert await rows(database) == []


async def test_a_write_deletes_what_expired_of_any_integration_and_a_bounded_part_of_it(
    cache: Cache, clock: Clock, database: Database
) -> None:
    for number in range(SWEEP + 2):
        await cache.set(f"{number}", 1, HOUR)
    await Cache(database, "other", now=clock).set("stays", 1)
    clock.go(HOUR)
    await cache.set("a", 1)
    assert len(await rows(database)) == 2 + 2
    await cache.set("a", 1)
    assert sorted(row.name for row in await rows(database)) == ["a", "stays"]


async def test_a_value_that_is_too_large_is_refused_and_what_was_there_stays(cache: Cache) -> None:
    await cache.set("a", 1)
    with pytest.raises(Refused, match=r"'a' has 16,777,217 bytes, 16,777,216 are allowed"):
        await cache.set("a", bytes(LARGEST + 1))
    assert await value(cache, "a") == 1


@pytest.mark.slow
async def test_the_largest_value_is_kept(cache: Cache) -> None:
    await cache.set("a", bytes(LARGEST))
    assert await value(cache, "a") == bytes(LARGEST)


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b", "\ud800"])
async def test_a_name_that_no_database_keeps_is_refused(cache: Cache, database: Database, name: str) -> None:
    for refused in (cache.get(name), cache.set(name, 1)):
        with pytest.raises(Refused, match="the cache's name"):
            await refused
    with pytest.raises(Refused, match="the cache's integration"):
        Cache(database, name)


@pytest.mark.parametrize("name", ["'; DROP TABLE cache_item; --", "%", "a' OR '1'='1", "ü" * 500])
async def test_a_name_is_a_name_and_nothing_else(cache: Cache, name: str) -> None:
    await cache.set("other", 0)
    assert await cache.get(name) is None
    await cache.set(name, 1)
    assert await value(cache, name) == 1
    assert await cache.delete(name)
    assert await value(cache, "other") == 0


async def test_the_database_holds_no_value_in_clear(cache: Cache, database: Database) -> None:
    await cache.set("a", {"token": "correct horse battery staple"})
    (row,) = await rows(database)
    assert b"correct" not in row.value
    assert "correct" not in str(row)


async def test_a_value_under_an_older_key_is_read_and_written_again_under_the_first(
    cache: Cache, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.set("a", 1)
    await cache.set("b", 2)
    newer = new_key()
    monkeypatch.setenv("LOCKSTEP_KEYS", f"{newer},{KEY}")
    assert await value(cache, "a") == 1
    await cache.set("a", 3)
    monkeypatch.setenv("LOCKSTEP_KEYS", newer)
    assert await value(cache, "a") == 3
    with pytest.raises(Misconfigured, match="put that key back"):
        await cache.get("b")


async def test_without_keys_nothing_is_kept_in_clear(
    cache: Cache, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCKSTEP_KEYS")
    with pytest.raises(Misconfigured, match="LOCKSTEP_KEYS is not set"):
        await cache.set("a", 1)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(ITEM))).scalar_one() == 0
