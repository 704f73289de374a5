"""A mirror of Request Tracker: everything travels once, and a process that dies anywhere loses and doubles nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from blocks.rules import CustomField, Rules
from blocks.store import Database
from blocks.store.incidents import add_comment, add_file, create, edit
from blocks.store.tables import Entry, Incident, Intent, Link, Parked, table_of
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tests.fakes.rt import FakeRT
from tests.mirrors import BOB, Clock, Death, careless, copy_of
from tests.rt_worlds import over

RULES = Rules(create=True, custom=[CustomField("remote", "CF.{RemoteID}"), CustomField("tags", "CF.{Tags}")])
KEYS = pytest.mark.parametrize("entry_field", ["EntryKey", ""], ids=["keys", "no keys"])
PARTS = 4
"""A test of many kills is cut in so many, each of some seconds."""


@dataclass
class Mirror:
    """The store and the fake, with one clock."""

    database: Database
    entry_field: str = "EntryKey"
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.fake = FakeRT(lambda: self.clock().timestamp(), dated=False)

    async def cycle(self) -> Mirroring:
        """One cycle, in a new process."""
        self.clock.go(5)
        async with over(self.fake, entry_field=self.entry_field) as system:
            mirror = await Mirroring.open(self.database, system, "rt", rules=RULES, run="run", now=self.clock)
            await cycle(mirror)
            return mirror

    async def settled(self, rounds: int = 3) -> None:
        """Cycles until nobody has anything left to say."""
        for _ in range(rounds):
            self.clock.go(70)
            await self.cycle()

    async def rows(self, table: Any) -> list[dict[str, Any]]:
        """All rows of a table."""
        one = table_of(table)
        async with self.database.read() as connection:
            found = await connection.execute(select(one).order_by(*one.primary_key.columns))
            return [dict(row) for row in found.mappings()]


async def busy(mirror: Mirror) -> None:
    """One of each kind of work, on both sides."""
    people, now = mirror.fake.people, mirror.clock
    for name in ("one", "two"):
        people.create({"Subject": name, "CustomFields": {"Severity": "low"}, "Content": f"{name} burns", **PLAIN})
    await mirror.settled()
    now.go(60)
    people.edit("1", {"Subject": "one, by a person", "CustomFields": {"RemoteID": "r-1", "Tags": ["b", "a"]}})
    people.comment("1", "said there")
    people.file("1", "f.bin", b"bytes", "a/b")
    await edit(mirror.database, 1, {"severity": "critical"}, BOB, now())
    await edit(mirror.database, 2, {"status": "active", "owner": "analyst"}, BOB, now())
    await add_comment(mirror.database, 2, "said here", BOB, now())
    await add_comment(mirror.database, 2, "said here", BOB, now())
    await add_file(mirror.database, 2, "g.bin", "a/b", b"ours", BOB, now())
    number = await create(mirror.database, {"title": "three", "description": "ours", "severity": "high"}, BOB, now())
    await add_comment(mirror.database, number, "first words", BOB, now())


PLAIN = {"ContentType": "text/plain"}


async def ended(mirror: Mirror) -> Any:
    """What both show in the end, once each, and nothing is left to do."""
    assert not await mirror.rows(Intent)
    assert not [row for row in await mirror.rows(Parked) if row["state"] == "open"]
    assert not [row for row in await mirror.rows(Link) if row["dirty"] or row["state"] != "linked"]
    records = mirror.fake.records
    theirs = sorted(
        (t.subject, t.status, t.owner, sorted((one, sorted(map(str, v))) for one, v in t.custom.items() if one != KEY))
        for t in records.tickets.values()
    )
    parts = sorted(
        (records.tickets[records.transactions[a.transaction].ticket].subject, a.name or "", a.content)
        for a in records.attachments.values()
        if a.content
    )
    columns = ("title", "description", "status", "severity", "owner", "custom")
    ours = [{name: row[name] for name in columns} for row in await mirror.rows(Incident)]
    entries = sorted((row["kind"], row["text"], row["name"]) for row in await mirror.rows(Entry))
    return theirs, parts, sorted(ours, key=str), entries


KEY = 5
"""The id of the custom field that holds our keys: they differ by right."""


@KEYS
async def test_everything_travels_once_and_then_nothing_is_written(database: Database, entry_field: str) -> None:
    mirror = Mirror(database, entry_field)
    await busy(mirror)
    await mirror.settled()
    theirs, parts, ours, entries = await ended(mirror)
    assert [(subject, status, owner) for subject, status, owner, _ in theirs] == [
        ("one, by a person", "new", "Nobody"),
        ("three", "new", "Nobody"),
        ("two", "open", "analyst"),
    ]
    assert parts == sorted([
        ("one, by a person", "", b"one burns"), ("one, by a person", "", b"said there"),
        ("one, by a person", "f.bin", b"bytes"), ("three", "", b"first words"), ("three", "", b"ours"),
        ("two", "", b"said here"), ("two", "", b"said here"), ("two", "", b"two burns"), ("two", "g.bin", b"ours"),
    ])  # fmt: skip
    assert len(ours) == 3
    assert [kind for kind, _, _ in entries].count("file") == 2
    assert [text for _, text, _ in entries if text] == [
        "first words", "one burns", "said here", "said here", "said there", "two burns",
    ]  # fmt: skip
    mirror.fake.calls.clear()
    await mirror.settled(2)
    writes = [one for one in mirror.fake.calls if not one.endswith(("tickets", "transactions", "attachments"))]
    assert writes == [], "an idle cycle reads transactions, and no more"
    assert mirror.fake.calls["POST tickets"] == 0


# killed


@pytest.fixture
async def before(sqlite_template: Path, tmp_path: Path, entry_field: str) -> Mirror:
    """A mirror with work to do; its store is closed, to be copied."""
    made = Mirror(careless(Database(copy_of(sqlite_template, tmp_path, "before"))), entry_field)
    await busy(made)
    await made.database.close()
    return made


async def killed_at(before: Mirror, folder: Path, number: int | None) -> tuple[list[str], Any]:
    """Run once, die at this point, and run again till nothing is left; answers the points, and the end."""
    database = careless(Database(copy_of(folder / "before.db", folder, f"kill-{number}")))
    mirror = Mirror(database, before.entry_field, Clock(before.clock.at))
    death, was = Death(number), before.fake.records
    for name in ("tickets", "transactions", "attachments", "last"):
        setattr(mirror.fake.records, name, copy.deepcopy(getattr(was, name)))
    mirror.fake.watch = lambda stage, method, route: death(f"{stage} {method} {route}")
    killed = await death.during(mirror.cycle())
    assert killed == (number is not None)
    mirror.fake.watch = None
    await mirror.settled()
    end = await ended(mirror)
    await database.close()
    return death.reached, end


@KEYS
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_each_point_it_ends_as_if_nothing_had_happened(
    before: Mirror, tmp_path: Path, part: int
) -> None:
    """At the engine's points, and before and after each single call."""
    points, wanted = await killed_at(before, tmp_path, None)
    assert {"after POST ticket", "after PUT ticket/ID", "after POST ticket/ID/comment", "after GET ticket/ID"} <= set(
        points
    )
    for number in range(part, len(points), PARTS):
        reached, end = await killed_at(before, tmp_path, number)
        assert end == wanted, f"killed at point {number}, {reached[number]}"
