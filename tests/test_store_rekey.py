"""After a new key was put first, what is kept is encrypted again, until the old key can go."""

from __future__ import annotations

import pytest
from sqlalchemy import LargeBinary, select

from blocks import points
from blocks.errors import Misconfigured
from blocks.store import Database
from blocks.store.cache import ITEM, Cache
from blocks.store.crypto import keys, new_key
from blocks.store.rekey import BATCH, ENCRYPTED, rekey
from blocks.store.tables import Table

OLD, NEW, LOST = new_key(), new_key(), new_key()
PLAIN = {("blob", "content")}
"""Columns of bytes that are not secret: they go to a system, or came from one."""


def use(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", ",".join(given))


async def filled(database: Database, monkeypatch: pytest.MonkeyPatch, count: int = 2 * BATCH + 5) -> Cache:
    use(monkeypatch, OLD)
    cache = Cache(database, "jira")
    for number in range(count):
        await cache.set(f"{number:03}", number)
    use(monkeypatch, NEW, OLD)
    return cache


async def values(cache: Cache) -> list[int]:
    found = [await cache.get(item.name) for item in await cache.items()]
    return [kept.value for kept in found if kept]


async def test_afterwards_the_first_key_is_enough(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await filled(database, monkeypatch)
    versions = [item.version for item in await cache.items()]
    assert await rekey(database) == (2 * BATCH + 5, 0)
    use(monkeypatch, NEW)
    assert await values(cache) == list(range(2 * BATCH + 5))
    assert [item.version for item in await cache.items()] == versions
    assert await rekey(database) == (0, 0)


async def test_one_that_died_midway_is_run_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, reached = await filled(database, monkeypatch), 0

    def die(point: str) -> None:
        nonlocal reached
        reached += point == "before commit rekey"
        if reached == 2:
            raise KeyboardInterrupt

    points.watch(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            await rekey(database)
    finally:
        points.watch(None)
    assert await rekey(database) == (BATCH + 5, 0)
    use(monkeypatch, NEW)
    assert await values(cache) == list(range(2 * BATCH + 5))


async def test_what_is_under_a_lost_key_is_counted_and_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await filled(database, monkeypatch, 2)
    use(monkeypatch, LOST)
    for number in range(BATCH):
        await cache.set(f"{number}", number)
    use(monkeypatch, NEW, OLD)
    assert await rekey(database) == (2, BATCH)
    assert await rekey(database) == (0, BATCH)
    use(monkeypatch, NEW, LOST)
    assert await rekey(database) == (BATCH, 0)


async def test_no_value_is_in_clear_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(database, monkeypatch, 3)
    await rekey(database)
    async with database.read() as connection:
        tokens = list((await connection.execute(select(ITEM.c.value))).scalars())
    assert all(keys().is_current(token) for token in tokens)


async def test_without_keys_nothing_is_touched(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(database, monkeypatch, 1)
    monkeypatch.delenv("LOCKSTEP_KEYS")
    with pytest.raises(Misconfigured, match="is not set"):
        await rekey(database)


def test_every_column_of_bytes_is_encrypted_again_or_is_no_secret() -> None:
    columns = {
        (table.name, column.name)
        for table in Table.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert columns - PLAIN == {(model.__tablename__, name) for model, name in ENCRYPTED}
