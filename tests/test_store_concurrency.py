"""Many at once: nobody is turned away, nothing is lost, no number is given twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from blocks.model import Fields
from blocks.store import Database
from blocks.store.incidents import (
    Actor,
    Edit,
    NewIncident,
    create,
    edit,
    get,
    history,
    insert_incidents,
    write_edits,
)
from blocks.store.tables import Incident, Link, table_of
from tests.stores import LINK, NOW, add_link, add_system, links_of

ANN = Actor("ann")
TITLED: Fields = {"title": "a"}


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


async def test_people_and_mirrors_who_add_incidents_at_once_never_block_each_other(
    database: Database, eight: list[Database]
) -> None:
    one, other = await add_system(database, "one"), await add_system(database, "other")

    async def page(own: Database, system_id: int) -> None:
        async with own.begin("test") as connection:
            rows = [NewIncident({"title": "a"})] * 20
            ids = await insert_incidents(own, connection, rows, ANN, NOW, system_id=system_id)
            first = await own.draw(connection, "link", len(ids))
            links = [(first + n, system_id, number, f"r{number}", "linked", 0) for n, number in enumerate(ids)]
            await own.insert(connection, Link, ("id", "system_id", "incident_id", "remote_id", "state", "dirty"), links)

    async def writer(n: int, own: Database) -> None:
        for _ in range(4):
            await (page(own, one) if n % 3 == 0 else page(own, other) if n % 3 == 1 else create(own, TITLED, ANN, NOW))

    async with asyncio.timeout(60):
        await asyncio.gather(*(writer(n, own) for n, own in enumerate(eight)))
    async with database.read() as connection:
        found = (await connection.execute(select(func.count(), func.count(LINK.c.id.distinct())))).one()
        incidents = (await connection.execute(select(func.count()).select_from(table_of(Incident)))).scalar_one()
    assert incidents == 6 * 4 * 20 + 2 * 4
    assert tuple(found) == (2 * incidents, 2 * incidents)


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
