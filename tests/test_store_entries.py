"""Comments, notes, files and relations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from blocks.errors import NotFound, Refused
from blocks.store import Database
from blocks.store.entries import content_of
from blocks.store.incidents import (
    Actor,
    NewEntry,
    add_comment,
    add_file,
    create,
    entries_of,
    get,
    history,
    insert_entries,
    relate,
    related_to,
)
from blocks.store.tables import Blob, table_of
from tests.stores import NOW, add_link, add_system, links_of

ANN = Actor("ann", "run-7")
LATER = NOW + timedelta(minutes=5)


async def test_a_comment_is_kept_with_its_author_time_and_tags(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    await add_comment(database, number, 'It\'s 100 % "done"', ANN, LATER, tags=("out", "b", "out"))
    await add_comment(database, number, "for us only", ANN, LATER, kind="note", author="bob")
    first, second = await entries_of(database, number)
    assert (first.text, first.author, first.kind, first.created) == ('It\'s 100 % "done"', "ann", "comment", LATER)
    assert (first.tags, first.system_id) == (["b", "out"], None)
    assert (second.kind, second.author, second.tags) == ("note", "bob", None)
    assert (await get(database, number)).updated == LATER
    lines = (await history(database, number))[1:]
    assert [(line.action, line.run, line.changes) for line in lines] == [
        ("commented", "run-7", {"comment": [None, first.id]}),
        ("commented", "run-7", {"note": [None, second.id]}),
    ]


async def test_equal_files_are_kept_once(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    data = bytes(range(256)) * 100
    one = await add_file(database, number, "log.bin", "application/octet-stream", data, ANN, LATER)
    two = await add_file(database, number, "copy.bin", "application/octet-stream", data, ANN, LATER)
    assert await content_of(database, one) == await content_of(database, two) == data
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(table_of(Blob)))).scalar() == 1
    rows = await entries_of(database, number)
    assert [(row.name, row.size, row.kind) for row in rows] == [
        ("log.bin", 25_600, "file"),
        ("copy.bin", 25_600, "file"),
    ]
    assert (await history(database, number))[-1].action == "attached"


async def test_a_comment_has_no_file(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    entry = await add_comment(database, number, "x", ANN, LATER)
    with pytest.raises(NotFound, match=f"entry {entry}"):
        await content_of(database, entry)


async def test_a_file_above_the_limit_is_refused(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    await add_file(database, number, "ok", "", b"12345", ANN, LATER, limit_bytes=5)
    with pytest.raises(Refused, match="6 bytes, 5 are allowed"):
        await add_file(database, number, "big", "", b"123456", ANN, LATER, limit_bytes=5)
    assert len(await entries_of(database, number)) == 1


@pytest.mark.parametrize("text", ["", "a\0b", "x" * 1_000_001, "\udfff"])
async def test_a_text_that_cannot_be_kept_is_refused(database: Database, text: str) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    with pytest.raises(Refused, match="text"):
        await add_comment(database, number, text, ANN, LATER)
    assert await entries_of(database, number) == []


async def test_a_file_needs_a_name(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    with pytest.raises(Refused, match="name"):
        await add_file(database, number, "", "", b"x", ANN, LATER)


async def test_an_entry_of_an_unknown_incident_is_refused_and_nothing_is_kept(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    rows = [NewEntry(number, "comment", NOW, text="a"), NewEntry(99, "comment", NOW, text="b")]

    async def write() -> None:
        async with database.begin("test") as connection:
            await insert_entries(database, connection, rows, ANN, NOW)

    with pytest.raises(NotFound, match="99"):
        await write()
    assert await entries_of(database, number) == []


async def test_no_entries_are_no_statement(database: Database) -> None:
    async with database.begin("test") as connection:
        assert await insert_entries(database, connection, [], ANN, NOW) == []


async def test_an_entry_makes_all_links_dirty_but_those_of_its_origin(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    origin, other, gone = [await add_system(database, name) for name in ("origin", "other", "gone")]
    await add_link(database, origin, number)
    await add_link(database, other, number, dirty=2)
    await add_link(database, gone, number, state="gone")
    async with database.begin("test") as connection:
        rows = [NewEntry(number, "comment", NOW, "bob", "hello")] * 600
        ids = await insert_entries(database, connection, rows, ANN, LATER, system_id=origin)
    assert [link.dirty for link in await links_of(database, number)] == [0, 1, 0]
    assert [entry.id for entry in await entries_of(database, number)] == ids
    assert {entry.system_id for entry in await entries_of(database, number)} == {origin}
    await add_comment(database, number, "mine", ANN, LATER)
    assert [link.dirty for link in await links_of(database, number)] == [1, 1, 0]


async def test_relating_twice_is_relating_once(database: Database) -> None:
    one, two = [await create(database, {"title": "a"}, ANN, NOW) for _ in range(2)]
    await relate(database, one, two, ANN, LATER)
    await relate(database, one, two, ANN, LATER)
    await relate(database, one, two, ANN, LATER, kind="duplicate")
    found = await related_to(database, two)
    assert [(r.incident_id, r.other_id, r.kind) for r in found] == [(one, two, "duplicate"), (one, two, "related")]
    assert found == await related_to(database, one)
    lines = (await history(database, one))[1:]
    assert [line.changes for line in lines] == [{"related": [None, two]}, {"duplicate": [None, two]}]


async def test_an_incident_is_not_related_to_itself_or_to_nothing(database: Database) -> None:
    one = await create(database, {"title": "a"}, ANN, NOW)
    with pytest.raises(Refused, match="itself"):
        await relate(database, one, one, ANN, LATER)
    with pytest.raises(NotFound, match="77"):
        await relate(database, one, 77, ANN, LATER)
    assert await related_to(database, one) == []
