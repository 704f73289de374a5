"""A mirror of a REST system: both sides in step, whatever its form says, and whatever the network does."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from blocks.errors import LockstepError
from blocks.model import Value
from blocks.rules import Rules, Travel
from blocks.store import Database
from blocks.store.incidents import Actor, add_comment, create, edit, entries_of, get
from blocks.store.tables import Link, Parked, table_of
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tests.rest_worlds import PlainWorld

BOB = Actor("bob")
KEYED = {"comment_key": "ref", "comment_body": '{"text": "{text}", "ref": "{key}"}'}
FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"paging": "page"}, {}),
    ({"paging": "offset", "etag": True}, {"if_match": "{etag}", **KEYED}),
    ({"paging": "cursor", "since": False}, {"version_at": "version", "update_with": '{"version": "{version}"}'}),
    ({"paging": "next link"}, {"compare": False, **KEYED}),
]


async def cycled(database: Database, world: PlainWorld, later: float = 0) -> None:
    """One cycle of a new process, so many seconds later by its clock."""
    system = world.system()
    system._now = lambda: datetime.now(UTC) + timedelta(seconds=later)
    async with system:
        rules = Rules(create=True)
        await cycle(await Mirroring.open(database, system, "plain", rules=rules, run="run"))


async def rows(database: Database, table: type[Any]) -> list[Any]:
    async with database.read() as connection:
        return list((await connection.execute(select(table_of(table)))).mappings())


async def shown(database: Database, number: int) -> tuple[dict[str, Value], list[str]]:
    """An incident of the store as the mirror should show it."""
    one, entries = await get(database, number), await entries_of(database, number)
    return {"title": one.title, "status": one.status, "owner": one.owner}, sorted(entry.text for entry in entries)


def there(world: PlainWorld, id: str) -> tuple[dict[str, Value], list[str]]:
    """The same of the API's, in our words."""
    record = world.api.records[id]
    row = {row.ours: row.our_value(record.raw[row.theirs]) for row in world.system().fields.rows}
    return {name: row[name] for name in ("title", "status", "owner")}, sorted(one["text"] for one in record.comments)  # type: ignore[misc]  # each is in its table


@pytest.mark.parametrize(("api", "form"), FORMS, ids=[api["paging"] for api, _ in FORMS])
@pytest.mark.parametrize("seed", range(2))
async def test_both_sides_agree_although_answers_are_lost(
    database: Database, api: dict[str, Any], form: dict[str, Any], seed: int
) -> None:
    world = PlainWorld(**api, form={**form, "lag_seconds": 0.0})
    dice, faults = random.Random(seed), world.api.faults  # noqa: S311  dice, no secret
    faults.retry_after = 0.0
    theirs = [world.api.create({"title": f"theirs {number}"}) for number in range(4)]
    ours = [await create(database, {"title": f"ours {n}", "severity": "low"}, BOB, datetime.now(UTC)) for n in range(3)]
    for turn in range(9):
        for kind in dice.sample(["drop", "lose", "hang", "fail", "fail after", "refuse"], 3):
            faults.plan(kind, dice.choice(["POST", "POST", "PATCH", "GET"]), skip=dice.randrange(3))  # type: ignore[arg-type]  # one of its kinds
        world.api.edit(dice.choice(theirs), {"assignee": f"ann {turn}"})
        world.api.comment(dice.choice(theirs), f"said there {turn}")
        mine = dice.choice(ours)
        await edit(database, mine, {"title": f"edited here {turn}"}, BOB, datetime.now(UTC))
        for time in range(2):
            await add_comment(database, mine, f"said here {turn} {time}", BOB, datetime.now(UTC))
        try:
            await cycled(database, world)
        except LockstepError:
            continue
    faults.clear()
    faults.tick = 1.0
    for _ in range(3):
        await cycled(database, world, later=60)
    links = await rows(database, Link)
    assert len(links) == len(world.api.records) == 7, "nothing is lost, and nothing is there twice"
    assert await rows(database, Parked) == []
    for link in links:
        assert await shown(database, link["incident_id"]) == there(world, link["remote_id"])
    said = [one["text"] for record in world.api.records.values() for one in record.comments]
    assert len(said) == len(set(said)) == 9 + 18
    world.api.calls.clear()
    await cycled(database, world, later=60)
    assert not [call for call in world.api.calls if not call.startswith("GET ")], "what agrees is left alone"


async def test_what_is_said_in_the_second_of_its_last_reading_is_seen_later(database: Database) -> None:
    world = PlainWorld(form={"lag_seconds": 0.0})
    at = datetime.now(UTC).timestamp() // 1 + 0.1
    world.api.clock = lambda: at
    id = world.api.create({"title": "theirs"})
    world.api.comment(id, "first")
    await cycled(database, world)
    world.api.comment(id, "in the same second")
    await cycled(database, world, later=60)
    (link,) = await rows(database, Link)
    assert (await shown(database, link["incident_id"]))[1] == ["first", "in the same second"]
    world.api.calls.clear()
    await cycled(database, world, later=120)
    assert world.api.calls.total() == 1, "its moment is over: no comments are asked for any more"


async def test_what_takes_no_comments_is_sent_none_and_parks_none(database: Database) -> None:
    world = PlainWorld(form={"comment_add_path": "", "lag_seconds": 0.0})
    id = world.api.create({"title": "theirs"})
    world.api.comment(id, "said there")
    await cycled(database, world)
    (link,) = await rows(database, Link)
    await add_comment(database, link["incident_id"], "said here", BOB, datetime.now(UTC))
    await edit(database, link["incident_id"], {"owner": "bob"}, BOB, datetime.now(UTC))
    await cycled(database, world)
    assert world.api.records[id].raw["assignee"] == "bob"
    assert [one["text"] for one in world.api.records[id].comments] == ["said there"]
    assert await rows(database, Parked) == []


async def test_what_is_only_read_is_never_written(database: Database) -> None:
    closed = {"update_path": "", "create_path": "", "comment_add_path": "", "key_at": "", "find_path": ""}
    world = PlainWorld(form={**closed, "lag_seconds": 0.0})
    world.api.create({"title": "theirs"})
    async with world.system() as system:
        mirror = await Mirroring.open(database, system, "plain", rules=Rules(comments=Travel()), run="run")
        await cycle(mirror)
        (link,) = await rows(database, Link)
        await edit(database, link["incident_id"], {"title": "ours"}, BOB, datetime.now(UTC))
        await cycle(mirror)
    assert {call.partition(" ")[0] for call in world.api.calls} == {"GET"}
