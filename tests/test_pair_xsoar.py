"""An XSOAR 6 and an XSOAR 8 in step through the store: two mirrors onto one incident."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from blocks.incidents.xsoar import Xsoar
from blocks.rules import CustomField, Intake, Rule, Rules
from blocks.store import Database
from blocks.store.incidents import add_comment, create, edit
from blocks.store.tables import Conflict, Entry, Incident, Intent, Link, Parked, table_of
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.people import resolve
from tests.fakes.xsoar import KEY_ID, FakeTransport, FakeXsoar
from tests.mirrors import BOB, Clock, Death, careless, copy_of

CUSTOM = [CustomField("incident_type", "type"), CustomField("scan_ip", "scanip"), CustomField("teams", "teams")]
RULES = Rules(create=True, custom=CUSTOM)
PARTS = 8
"""A test of many kills is cut in so many, each of some seconds."""
SHOWN = ("name", "details", "status", "severity", "owner", "type", "closeReason", "closeNotes")


@dataclass
class Pair:
    """The store, and both servers with a mirror each. An entry counts as a change on the 8 only."""

    database: Database
    rules: Rules = RULES
    intake: Intake = field(default_factory=Intake)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        def now() -> float:
            return self.clock().timestamp()

        self.six = FakeXsoar(now, touch=False, dated=False)
        self.eight = FakeXsoar(now, cloud=True, touch=True, dated=False)

    def system(self, fake: FakeXsoar) -> Xsoar:
        system = Xsoar(
            address="https://api-soc.xsoar.test" if fake.cloud else "https://xsoar.test",
            api_key=SecretStr("secret"),
            login="lockstep",
            key_id=KEY_ID if fake.cloud else "",
            custom_fields=["scanip", "teams"],
            ask_each=not fake.cloud,
        )
        system._transport = FakeTransport(fake)
        return system

    async def cycle(self, fake: FakeXsoar) -> None:
        """One cycle of its mirror, in a new process."""
        name = "eight" if fake.cloud else "six"
        async with self.system(fake) as system:
            mirror = await Mirroring.open(
                self.database, system, name, rules=self.rules, intake=self.intake, run="run", now=self.clock
            )
            await cycle(mirror)

    async def both(self) -> None:
        """A cycle of each."""
        self.clock.go(5)
        await self.cycle(self.six)
        await self.cycle(self.eight)

    async def settled(self, rounds: int = 3) -> None:
        """Cycles until nobody has anything left to say."""
        for _ in range(rounds):
            self.clock.go(70)
            await self.both()

    async def rows(self, table: Any) -> list[dict[str, Any]]:
        """All rows of a table."""
        one = table_of(table)
        async with self.database.read() as connection:
            found = await connection.execute(select(one).order_by(*one.primary_key.columns))
            return [dict(row) for row in found.mappings()]

    def alike(self, name: str) -> dict[str, Any]:
        """An incident by its name, which both must show in the same way, once; answers how."""
        six, eight = shown(self.six, name), shown(self.eight, name)
        assert six == eight
        return six


def shown(fake: FakeXsoar, name: str) -> dict[str, Any]:
    """The one incident of this name: its fields, custom fields, labels of people, and entries."""
    (raw,) = [raw for raw in fake.server.incidents.values() if raw["name"] == name]
    entries = [
        (one["note"], one["contents"] or "", one["file"], fake.server.files.get(one["id"]))
        for one in fake.server.rooms[raw["id"]]
        if one["category"] != "command"
    ]
    tags = sorted(f"{one['type']}={one['value']}" for one in raw["labels"] if one["type"] not in HIDDEN)
    return {
        **{key: raw[key] for key in SHOWN},
        **raw["CustomFields"],
        "labels": tags,
        "entries": sorted(entries, key=str),
    }


HIDDEN = ("lockstep", "Brand", "Instance")


@pytest.fixture
async def pair(database: Database) -> Pair:
    """One incident in step, which came from the 6."""
    made = Pair(database)
    made.six.people.create({
        "name": "ping", "status": "1", "severity": "3", "owner": "ann", "type": "Ping", "details": "words",
        "scanip": "10.0.0.1", "teams": ["blue", "red"], "labels": ["vip"],
    })  # fmt: skip
    await made.settled()
    return made


async def test_an_incident_arrives_whole_and_once(pair: Pair) -> None:
    one = pair.alike("ping")
    assert (one["severity"], one["owner"], one["type"], one["scanip"]) == (3, "ann", "Ping", "10.0.0.1")
    assert (one["teams"], one["labels"]) == (["blue", "red"], ["label=vip"])
    assert (len(pair.six.server.incidents), len(pair.eight.server.incidents)) == (1, 1)
    assert len(await pair.rows(Incident)) == 1


async def test_what_was_created_carries_our_key_and_nothing_for_people_to_see(pair: Pair) -> None:
    (theirs,) = pair.eight.server.incidents.values()
    assert [one["value"] for one in theirs["labels"] if one["type"] == "lockstep"] == [
        f"lockstep-{pair.database.id}-i2"
    ]
    (ours,) = await pair.rows(Incident)
    assert "lockstep" not in str({**ours, "extra": None})
    assert (theirs["dbotMirrorId"], theirs["sourceBrand"]) == ("", "")


async def test_nothing_is_sent_when_idle_and_nothing_is_asked_beside_the_pages(pair: Pair) -> None:
    pair.six.people.say("1", "words")
    await pair.settled()
    before = [raw["version"] for fake in (pair.six, pair.eight) for raw in fake.server.incidents.values()]
    for fake in (pair.six, pair.eight):
        fake.calls.clear()
    await pair.settled()
    assert pair.six.writes == pair.eight.writes == 0
    assert set(pair.eight.calls) == {"POST incidents/search"}
    assert before == [raw["version"] for fake in (pair.six, pair.eight) for raw in fake.server.incidents.values()]


async def test_an_edit_reaches_the_other_and_does_not_come_back(pair: Pair) -> None:
    pair.six.people.edit("1", {"severity": "4", "scanip": "10.0.0.2", "teams": ["red"], "labels": ["vip", "new"]})
    pair.clock.go(60)
    await pair.settled()
    one = pair.alike("ping")
    assert (one["severity"], one["scanip"], one["teams"]) == (4, "10.0.0.2", ["red"])
    assert one["labels"] == ["label=new", "label=vip"]
    assert pair.six.calls["POST incident"] == 0, "no echo"
    pair.eight.people.edit("1", {"owner": "bob", "details": None})
    await pair.settled()
    assert (pair.alike("ping")["owner"], pair.alike("ping")["details"]) == ("bob", "")


async def test_a_label_with_a_type_keeps_it(pair: Pair) -> None:
    pair.six.server.changed(
        "1", labels=[{"type": "Email/from", "value": "eve@x.test"}, {"type": "Brand", "value": "Mail"}]
    )
    await pair.settled()
    assert pair.alike("ping")["labels"] == ["Email/from=eve@x.test"]
    assert {"type": "Brand", "value": "Mail"} not in pair.eight.server.incidents["1"]["labels"]


async def test_edits_of_different_fields_at_once_both_stand(pair: Pair) -> None:
    pair.six.people.edit("1", {"severity": "1"})
    pair.eight.people.edit("1", {"owner": "bob"})
    await pair.settled()
    assert (pair.alike("ping")["severity"], pair.alike("ping")["owner"]) == (1, "bob")


async def test_comments_notes_and_files_go_each_way_once(pair: Pair) -> None:
    pair.six.people.say("1", "from 6")
    pair.eight.people.say("1", "a note from 8", note=True)
    pair.eight.people.attach("1", 'e"vidence.bin', b"\x00\xff")
    pair.six.people.say("1", "!closeInvestigation")
    await pair.settled()
    said = pair.alike("ping")["entries"]
    assert sorted(text or name for _, text, name, _ in said) == sorted(
        ["from 6", "a note from 8", 'e"vidence.bin', "!closeInvestigation"]
    )
    assert [data for _, _, name, data in said if name] == [b"\x00\xff"]
    assert pair.eight.server.commands == [], "what is said is never run"
    assert len(await pair.rows(Entry)) == 4


async def test_a_close_carries_its_reason_and_notes_and_does_not_echo(pair: Pair) -> None:
    pair.six.people.close("1", "False Positive", "a test of ours")
    await pair.settled()
    one = pair.alike("ping")
    assert [one[key] for key in ("status", "closeReason", "closeNotes")] == [2, "False Positive", "a test of ours"]
    assert (pair.eight.calls["POST incident/close"], pair.six.calls["POST incident/close"]) == (1, 0)
    assert pair.six.server.incidents["1"]["closingUserId"] == ""


@pytest.mark.parametrize("there", ["six", "eight"])
async def test_a_reopening_goes_back(pair: Pair, there: str) -> None:
    pair.six.people.close("1", "Resolved", "done")
    await pair.settled()
    pair.clock.go(60)
    getattr(pair, there).people.reopen("1")
    await pair.settled()
    one = pair.alike("ping")
    assert [one[key] for key in ("status", "closeReason", "closeNotes")] == [1, "", ""]
    assert not await pair.rows(Parked)


async def test_a_close_reason_that_the_other_does_not_list_waits_for_a_person_and_the_close_goes(pair: Pair) -> None:
    pair.six.server.changed("1", status=2, closeReason="Our own reason", closeNotes="n")
    await pair.settled()
    there = shown(pair.eight, "ping")
    assert (there["status"], there["closeReason"], there["closeNotes"]) == (2, "", "n")
    (parked,) = [row for row in await pair.rows(Parked) if row["state"] == "open"]
    assert "False Positive" in parked["error"]
    assert shown(pair.six, "ping")["closeReason"] == "Our own reason"


async def test_a_conflict_waits_for_a_person_if_the_rule_says_so(pair: Pair) -> None:
    pair.rules = Rules(create=True, custom=CUSTOM, severity=Rule("both", "ask"))
    await pair.settled(1)
    pair.six.people.edit("1", {"severity": "4"})
    pair.eight.people.edit("1", {"severity": "1"})
    await pair.settled()
    (conflict,) = await pair.rows(Conflict)
    assert conflict["field"] == "severity"
    assert (shown(pair.six, "ping")["severity"], shown(pair.eight, "ping")["severity"]) == (4, 1)
    await resolve(pair.database, conflict["incident_id"], "severity", "system", "eight", BOB, pair.clock())
    await pair.settled()
    assert pair.alike("ping")["severity"] == 1


async def test_the_newest_edit_of_one_field_stands_unless_a_rule_says_otherwise(pair: Pair) -> None:
    pair.eight.people.edit("1", {"owner": "bob"})
    pair.clock.go(60)
    pair.six.people.edit("1", {"owner": "lead"})
    await pair.settled()
    assert pair.alike("ping")["owner"] == "lead"


async def test_only_what_the_filter_takes_is_linked_and_its_close_still_arrives(pair: Pair) -> None:
    pair.intake = Intake(query="-status:closed and type:Ping")
    pair.six.people.create({"name": "pong", "type": "Pong"})
    pair.six.people.create({"name": "over", "type": "Ping", "status": "2"})
    await pair.settled()
    assert [raw["name"] for raw in pair.eight.server.incidents.values()] == ["ping"]
    pair.six.people.close("1", "Resolved", "it leaves the filter")
    await pair.settled()
    assert pair.alike("ping")["closeNotes"] == "it leaves the filter"


async def test_an_incident_of_the_store_is_created_in_both(pair: Pair) -> None:
    number = await create(pair.database, {"title": "ours", "severity": "low"}, BOB, pair.clock())
    await add_comment(pair.database, number, "first words", BOB, pair.clock())
    await pair.settled()
    assert [text for _, text, _, _ in pair.alike("ours")["entries"]] == ["first words"]
    await edit(pair.database, number, {"status": "closed", "close_reason": "Other"}, BOB, pair.clock())
    await pair.settled()
    assert (pair.alike("ours")["status"], pair.alike("ours")["closeReason"]) == (2, "Other")


# killed


async def busy(pair: Pair) -> None:
    """One of each kind of work, in both and in the store."""
    for name in ("one", "two", "three", "four"):
        pair.six.people.create({"name": name, "status": "1", "severity": "2", "scanip": name})
    await pair.settled()
    pair.six.people.close("3", "Resolved", "early")
    await pair.settled()
    pair.clock.go(60)
    pair.six.people.edit("1", {"severity": "4", "scanip": "10.0.0.9"})
    pair.eight.people.edit("1", {"owner": "bob"})
    pair.six.people.say("1", "said in 6")
    pair.six.people.say("1", "said in 6")
    pair.six.people.attach("1", "f.bin", b"bytes")
    pair.eight.people.say("1", "said in 8")
    pair.six.server.changed("2", status=2, closeReason="Duplicate", closeNotes="of one", details="and edited")
    pair.eight.people.reopen("3")
    pair.eight.people.create({"name": "five", "status": "1", "labels": ["vip"]})
    number = await create(pair.database, {"title": "six", "severity": "low"}, BOB, pair.clock())
    await add_comment(pair.database, number, "first words", BOB, pair.clock())


async def ended(pair: Pair) -> Any:
    """What both show in the end, once each, and nothing is left to do."""
    assert not await pair.rows(Intent)
    assert not [row for row in await pair.rows(Parked) if row["state"] == "open"]
    assert not [row for row in await pair.rows(Link) if row["dirty"] or row["state"] != "linked"]
    names = ("one", "two", "three", "four", "five", "six")
    assert len(pair.six.server.incidents) == len(pair.eight.server.incidents) == len(names)
    assert len(await pair.rows(Incident)) == len(names)
    texts = sorted((row["kind"], row["text"], row["name"]) for row in await pair.rows(Entry))
    return [pair.alike(name) for name in names], texts


@pytest.fixture
async def before(sqlite_template: Path, tmp_path: Path) -> Pair:
    """A pair with work to do; its store is closed, to be copied."""
    made = Pair(careless(Database(copy_of(sqlite_template, tmp_path, "before"))))
    await busy(made)
    await made.database.close()
    return made


async def killed_at(before: Pair, folder: Path, number: int | None) -> tuple[list[str], Any]:
    """Run both mirrors once, die at this point, and run again till nothing is left; answers the points, and the end."""
    database = careless(Database(copy_of(folder / "before.db", folder, f"kill-{number}")))
    pair = Pair(database, clock=Clock(before.clock.at))
    death = Death(number)
    for fake, was in ((pair.six, before.six), (pair.eight, before.eight)):
        for name in ("incidents", "past", "rooms", "files", "_numbers"):
            setattr(fake.server, name, copy.deepcopy(getattr(was.server, name)))
        fake.watch = lambda stage, method, route: death(f"{stage} {method} {route}")
    killed = await death.during(pair.both())
    assert killed == (number is not None)
    pair.six.watch = pair.eight.watch = None
    await pair.settled()
    end = await ended(pair)
    await database.close()
    return death.reached, end


async def test_the_points_at_which_it_is_killed_are_all_that_there_are(before: Pair, tmp_path: Path) -> None:
    points, _ = await killed_at(before, tmp_path, None)
    calls = ("POST incident", "POST incident/close", "POST entry/formatted", "POST entry/upload", "GET incident/load")
    commits = tuple(f"commit {name}" for name in ("page", "plan", "intents", "answers"))
    wanted = (*calls, *commits, "POST investigation", "create", "update", "add_entry")
    assert {f"{stage} {part}" for part in wanted for stage in ("before", "after")} <= set(points)


@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_each_point_both_end_as_if_nothing_had_happened(
    before: Pair, tmp_path: Path, part: int
) -> None:
    """At the engine's points, and before and after each single call: a close is two calls, a create too."""
    points, wanted = await killed_at(before, tmp_path, None)
    for number in range(part, len(points), PARTS):
        reached, end = await killed_at(before, tmp_path, number)
        assert end == wanted, f"killed at point {number}, {reached[number]}"
