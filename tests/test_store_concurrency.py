"""Many at once: nobody is turned away, nothing is lost, no number is given twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from blocks.store import Database
from blocks.store.incidents import Actor, Edit, create, edit, get, history, write_edits
from tests.stores import NOW, add_link, add_system, links_of

ANN = Actor("ann")


@pytest.fixture
async def eight(store_url: str, database: Database) -> AsyncIterator[list[Database]]:
    """Eight databases on one store, as eight processes have them."""
    opened = [Database(store_url) for _ in range(8)]
    yield opened
    for one in opened:
        await one.close()


async def test_eight_writers_at_once_all_get_their_turn(database: Database, eight: list[Database]) -> None:
    number = await create(database, {"title": "a", "n": 0}, ANN, NOW)

    async def writer(own: Database, name: str) -> None:
        for turn in range(10):
            await edit(own, number, {name: turn}, Actor(name), NOW)

    await asyncio.gather(*(writer(own, f"w{n}") for n, own in enumerate(eight)))
    row = await get(database, number)
    assert row.version == 81
    assert row.custom == {"n": 0} | {f"w{n}": 9 for n in range(8)}
    assert len(await history(database, number)) == 81


async def test_incidents_made_at_once_have_numbers_of_their_own(database: Database, eight: list[Database]) -> None:
    await add_system(database, "a")

    async def writer(own: Database) -> list[int]:
        return [await create(own, {"title": "a"}, ANN, NOW) for _ in range(5)]

    numbers = [n for made in await asyncio.gather(*(writer(own) for own in eight)) for n in made]
    assert sorted(numbers) == list(range(1, 41))
    links = [link.id for n in numbers for link in await links_of(database, n)]
    assert len(set(links)) == 40


async def test_an_edit_waits_for_the_transaction_that_holds_the_incident(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    async with database.begin("test") as connection:
        await write_edits(database, connection, [Edit(number, {"title": "b"})], ANN, NOW)
        second = asyncio.create_task(edit(database, number, {"title": "c"}, Actor("bob"), NOW))
        await asyncio.sleep(0.3)
        assert not second.done()
        assert (await get(database, number)).title == "a"
    await second
    assert (await get(database, number)).version == 3
    assert [line.changes for line in await history(database, number)][1:] == [
        {"title": ["a", "b"]},
        {"title": ["b", "c"]},
    ]


async def test_edits_of_the_same_incidents_in_any_order_never_block_each_other(
    database: Database, eight: list[Database]
) -> None:
    ids = [await create(database, {"title": "a"}, ANN, NOW) for _ in range(6)]
    system = await add_system(database, "a")
    for number in ids:
        await add_link(database, system, number)

    async def writer(own: Database, order: list[int], name: str) -> None:
        for turn in range(5):
            async with own.begin("test") as connection:
                edits = [Edit(number, {"owner": f"{name} {turn}"}) for number in order]
                await write_edits(own, connection, edits, Actor(name), NOW)

    async with asyncio.timeout(60):
        await asyncio.gather(*(writer(own, ids[:: 1 if n % 2 else -1], f"w{n}") for n, own in enumerate(eight)))
    assert {(await get(database, number)).version for number in ids} == {41}


async def test_a_failed_writer_leaves_nothing_and_nobody_waits_for_it(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)

    async def fail() -> None:
        async with database.begin("test") as connection:
            await write_edits(database, connection, [Edit(number, {"title": "b"})], ANN, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await edit(database, number, {"owner": "bob"}, ANN, NOW)
    row = await get(database, number)
    assert (row.title, row.owner, row.version) == ("a", "bob", 2)
