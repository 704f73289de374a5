"""How incidents are made and changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.errors import NotFound, Refused
from blocks.model import Fields
from blocks.store import Database
from blocks.store.incidents import (
    Actor,
    Edit,
    create,
    edit,
    get,
    history,
    insert_incidents,
    new_incident,
    write_edits,
)
from tests.stores import NOW, add_link, add_system, links_of

ANN = Actor("ann")
LATER = NOW + timedelta(minutes=5)


async def test_a_new_incident_has_what_was_given(database: Database) -> None:
    fields: Fields = {"title": "Phishing", "severity": "high", "labels": ["b", "a", "b"], "site": "Graz"}
    number = await create(database, fields, ANN, NOW, type="mail", occurred=NOW, extra={"raw": 1}, custom={"shift": 2})
    row = await get(database, number)
    assert (row.title, row.severity, row.status, row.type, row.version) == ("Phishing", "high", "new", "mail", 1)
    assert row.labels == ["a", "b"]
    assert row.custom == {"site": "Graz", "shift": 2}
    assert row.extra == {"raw": 1}
    assert (row.created, row.updated, row.occurred, row.closed) == (NOW, NOW, NOW, None)
    assert [(line.action, line.actor, line.at) for line in await history(database, number)] == [("created", "ann", NOW)]


async def test_an_incident_that_is_over_when_it_comes_is_closed(database: Database) -> None:
    number = await create(database, {"title": "Old", "status": "closed"}, ANN, NOW)
    assert (await get(database, number)).closed == NOW


async def test_a_person_must_name_an_incident(database: Database) -> None:
    with pytest.raises(Refused, match="title"):
        await create(database, {"severity": "low"}, ANN, NOW)


async def test_what_a_system_leaves_empty_stays_empty(database: Database) -> None:
    async with database.begin("test") as connection:
        rows = [new_incident({"title": None, "status": None})]
        (number,) = await insert_incidents(database, connection, rows, ANN, NOW)
    row = await get(database, number)
    assert (row.title, row.status) == (None, None)


async def test_no_incidents_are_no_statement(database: Database) -> None:
    async with database.begin("test") as connection:
        assert await insert_incidents(database, connection, [], ANN, NOW) == []
        await write_edits(database, connection, [], ANN, NOW)


async def test_a_page_of_incidents_gets_ids_in_order(database: Database) -> None:
    async with database.begin("test") as connection:
        rows = [new_incident({"title": f"t{n}"}) for n in range(700)]
        ids = await insert_incidents(database, connection, rows, ANN, NOW, system_id=4)
    assert ids == list(range(ids[0], ids[0] + 700))
    assert (await get(database, ids[699])).title == "t699"
    assert (await history(database, ids[3]))[0].system_id == 4


async def test_an_edit_says_from_what_to_what_and_when(database: Database) -> None:
    number = await create(database, {"title": "a", "site": "Graz"}, ANN, NOW)
    await edit(database, number, {"title": "b", "site": None, "team": 3}, Actor("bob", "run-1"), LATER)
    row = await get(database, number)
    assert (row.title, row.custom, row.version, row.updated) == ("b", {"team": 3}, 2, LATER)
    assert row.changed == dict.fromkeys(("title", "site", "team"), LATER.isoformat())
    line = (await history(database, number))[-1]
    assert (line.action, line.actor, line.run, line.at) == ("edited", "bob", "run-1", LATER)
    assert line.changes == {"title": ["a", "b"], "site": ["Graz", None], "team": [None, 3]}


async def test_equal_values_change_nothing(database: Database) -> None:
    number = await create(database, {"title": "a", "labels": ["x", "y"], "site": "Graz"}, ANN, NOW)
    system = await add_system(database, "a")
    await add_link(database, system, number)
    await edit(database, number, {"title": "a", "labels": ["y", "x"], "site": "Graz", "team": None}, ANN, LATER)
    row = await get(database, number)
    assert (row.version, row.updated, row.changed) == (1, NOW, None)
    assert len(await history(database, number)) == 1
    assert (await links_of(database, number))[0].dirty == 0


async def test_true_is_not_one(database: Database) -> None:
    number = await create(database, {"title": "a", "flag": 1}, ANN, NOW)
    await edit(database, number, {"flag": True}, ANN, LATER)
    row = await get(database, number)
    assert row.custom is not None
    assert row.custom["flag"] is True


async def test_closing_and_reopening_are_told_apart_from_editing(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    await edit(database, number, {"status": "resolved", "close_notes": "done"}, ANN, LATER)
    assert (await get(database, number)).closed == LATER
    await edit(database, number, {"status": "closed"}, ANN, LATER + timedelta(1))
    assert (await get(database, number)).closed == LATER
    await edit(database, number, {"status": "active"}, ANN, LATER + timedelta(2))
    assert (await get(database, number)).closed is None
    assert [line.action for line in await history(database, number)] == ["created", "closed", "edited", "reopened"]


async def test_a_change_is_dated_by_its_side_and_zone(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    there = datetime(2026, 11, 24, 11, 30, tzinfo=UTC)
    async with database.begin("test") as connection:
        edits = [Edit(number, {"title": "b"}, there)]
        await write_edits(database, connection, edits, Actor("mirror"), LATER, system_id=9)
    row = await get(database, number)
    assert (row.changed, row.updated) == ({"title": there.isoformat()}, LATER)
    assert (await history(database, number))[-1].system_id == 9


async def test_edits_of_one_incident_follow_each_other(database: Database) -> None:
    one, two = [await create(database, {"title": title}, ANN, NOW) for title in ("a", "x")]
    async with database.begin("test") as connection:
        edits = [Edit(one, {"title": "b"}), Edit(two, {"owner": "bob"}), Edit(one, {"title": "c", "site": "Wien"})]
        await write_edits(database, connection, edits, ANN, LATER)
    row, other = await get(database, one), await get(database, two)
    assert (row.title, row.custom, row.version) == ("c", {"site": "Wien"}, 3)
    assert (other.title, other.owner, other.custom, other.version) == ("x", "bob", None, 2)
    changes = [line.changes for line in await history(database, one)]
    assert changes == [None, {"title": ["a", "b"]}, {"title": ["b", "c"], "site": [None, "Wien"]}]


async def test_a_thousand_edits_are_one_commit(database: Database) -> None:
    async with database.begin("test") as connection:
        ids = await insert_incidents(database, connection, [new_incident({"title": "a"})] * 1_001, ANN, NOW)
        await write_edits(database, connection, [Edit(number, {"owner": f"o{number}"}) for number in ids], ANN, LATER)
    assert (await get(database, ids[-1])).owner == f"o{ids[-1]}"


async def test_an_unknown_incident_is_named_and_nothing_is_written(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    with pytest.raises(NotFound, match="4711") as caught:
        async with database.begin("test") as connection:
            await write_edits(database, connection, [Edit(number, {"title": "b"}), Edit(4711, {})], ANN, LATER)
    assert caught.value.id == "4711"
    assert (await get(database, number)).title == "a"
    with pytest.raises(NotFound, match="4711"):
        await get(database, 4711)


REFUSED: list[tuple[Fields, str]] = [
    ({"status": "open"}, "status"),
    ({"status": None}, "status"),
    ({"severity": "urgent"}, "severity"),
    ({"severity": ["low"]}, "severity"),
    ({"title": None}, "title"),
    ({"title": "x" * 1_001}, "title"),
    ({"title": 7}, "title"),
    ({"owner": "x" * 501}, "owner"),
    ({"description": "x" * 1_000_001}, "description"),
    ({"description": "a\0b"}, "description"),
    ({"description": "a\ud800b"}, "description"),
    ({"labels": "red"}, "labels"),
    ({"labels": ["a", 1]}, "labels"),  # type: ignore[list-item]
    ({"labels": ["a\0"]}, "labels"),
    ({"site": "a\0b"}, "site"),
    ({"site": float("nan")}, "site"),
    ({"site": 1 << 70}, "site"),
    ({"Site": "x"}, "Site"),
    ({'x"; DROP TABLE incident; --': "x"}, "DROP TABLE"),
    ({"": "x"}, "name of a field"),
]


@pytest.mark.parametrize(("patch", "named"), REFUSED)
async def test_a_bad_value_is_refused_and_its_field_named(database: Database, patch: Fields, named: str) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    with pytest.raises(Refused, match=named) as caught:
        await edit(database, number, patch, ANN, LATER)
    assert list(caught.value.fields) == list(patch)
    assert (await get(database, number)).version == 1


@pytest.mark.parametrize("value", ["'; DROP TABLE incident; --", '"', "\\", "%_", ":name", "$1", "?", "Ünï ☃ 𝄞", "\n"])
async def test_any_text_comes_back_as_it_went(database: Database, value: str) -> None:
    number = await create(database, {"title": value, "labels": [value], "site": value}, ANN, NOW)
    await edit(database, number, {"description": value, "owner": value}, ANN, LATER)
    row = await get(database, number)
    assert (row.title, row.labels, row.custom) == (value, [value], {"site": value})
    assert (row.description, row.owner) == (value, value)


@pytest.mark.parametrize("value", [True, 7, 2.5, ["a", "b"], "text", 9_007_199_254_740_993])
async def test_a_custom_field_keeps_its_kind(database: Database, value: Any) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW, custom={"site": value})
    custom = (await get(database, number)).custom or {}
    assert custom["site"] == value
    assert type(custom["site"]) is type(value)


async def test_a_time_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="zone"):
        await create(database, {"title": "a"}, ANN, datetime(2026, 1, 1))  # noqa: DTZ001  the point


async def test_an_edit_marks_the_links_that_mirror_the_incident(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    states = [("linked", 0, 1), ("offered", 0, 1), ("linked", 2, 1), ("gone", 0, 0), ("unlinked", 0, 0)]
    for state, dirty, _ in states:
        system = await add_system(database, f"{state} {dirty}")
        await add_link(database, system, number, state=state, dirty=dirty)
    await edit(database, number, {"title": "b"}, ANN, LATER)
    assert [link.dirty for link in await links_of(database, number)] == [after for _, _, after in states]


async def test_another_incidents_links_stay_clean(database: Database) -> None:
    one, two = [await create(database, {"title": "a"}, ANN, NOW) for _ in range(2)]
    system = await add_system(database, "a")
    await add_link(database, system, two)
    await edit(database, one, {"title": "b"}, ANN, LATER)
    assert (await links_of(database, two))[0].dirty == 0


async def test_a_persons_edit_ends_the_streak_of_its_fields_alone(database: Database) -> None:
    number = await create(database, {"title": "a", "owner": "x"}, ANN, NOW)
    systems = [await add_system(database, name) for name in "abc"]
    await add_link(database, systems[0], number, streak={"title": 3, "owner": 1})
    await add_link(database, systems[1], number, streak={"title": 2})
    await add_link(database, systems[2], number)
    await edit(database, number, {"title": "b"}, ANN, LATER)
    assert [link.streak for link in await links_of(database, number)] == [{"owner": 1}, None, None]


async def test_a_systems_edit_ends_no_streak(database: Database) -> None:
    number = await create(database, {"title": "a"}, ANN, NOW)
    system = await add_system(database, "a")
    await add_link(database, system, number, streak={"title": 3})
    async with database.begin("test") as connection:
        await write_edits(database, connection, [Edit(number, {"title": "b"})], ANN, LATER, system_id=system)
    assert (await links_of(database, number))[0].streak == {"title": 3}
