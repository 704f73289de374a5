"""Incidents are offered to the systems that take new ones."""

from __future__ import annotations

import asyncio

from sqlalchemy import update

from blocks.store import Database
from blocks.store.incidents import Actor, create, insert_incidents, new_incident, offer
from blocks.store.links import offer_all
from tests.stores import NOW, SYSTEM, add_link, add_system, links_of

ANN = Actor("ann")


async def test_a_new_incident_is_offered_to_each_system_that_takes_new_ones(database: Database) -> None:
    one, other = await add_system(database, "one"), await add_system(database, "other")
    await add_system(database, "closed", creates=False)
    number = await create(database, {"title": "a"}, ANN, NOW)
    links = await links_of(database, number)
    assert [(link.system_id, link.state, link.dirty, link.remote_id) for link in links] == [
        (one, "offered", 1, None),
        (other, "offered", 1, None),
    ]


async def test_an_incident_is_never_offered_to_where_it_comes_from(database: Database) -> None:
    one, other = await add_system(database, "one"), await add_system(database, "other")
    async with database.begin("test") as connection:
        rows = [new_incident({"title": "a"})] * 3
        ids = await insert_incidents(database, connection, rows, ANN, NOW, system_id=one)
    links = [link for number in ids for link in await links_of(database, number)]
    assert [(link.incident_id, link.system_id) for link in links] == [(number, other) for number in ids]


async def test_where_no_system_takes_new_ones_nothing_is_offered(database: Database) -> None:
    await add_system(database, "one", creates=False)
    number = await create(database, {"title": "a"}, ANN, NOW)
    assert await links_of(database, number) == []


async def test_offering_again_offers_only_what_a_system_does_not_have(database: Database) -> None:
    ids = [await create(database, {"title": "a"}, ANN, NOW) for _ in range(3)]
    system = await add_system(database, "one")
    await add_link(database, system, ids[1])
    for _ in range(2):
        async with database.begin("test") as connection:
            await offer(database, connection, ids[0], ids[-1])
    links = [link for number in ids for link in await links_of(database, number)]
    assert [link.state for link in links] == ["offered", "linked", "offered"]
    assert len({link.id for link in links}) == 3


async def test_links_of_offers_and_links_drawn_later_never_share_a_number(database: Database) -> None:
    for name in ("one", "other"):
        await add_system(database, name)
    await create(database, {"title": "a"}, ANN, NOW)
    async with database.begin("test") as connection:
        first = await database.draw(connection, "link", 1)
    assert first > 2


async def test_no_incident_slips_between_a_system_that_begins_to_take_and_one_who_adds(database: Database) -> None:
    async def add() -> list[int]:
        return [await create(database, {"title": "a"}, ANN, NOW) for _ in range(20)]

    system = await add_system(database, "one", creates=False)
    adding = asyncio.create_task(add())
    await asyncio.sleep(0.02)
    async with database.begin("test") as connection:
        await connection.execute(update(SYSTEM).where(SYSTEM.c.id == system).values(creates=True))
        await asyncio.sleep(0.02)
        await offer_all(database, connection, system)
    ids = await adding
    links = [link for number in ids for link in await links_of(database, number)]
    assert [link.incident_id for link in links] == ids
