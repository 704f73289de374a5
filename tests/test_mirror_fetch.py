"""What a fetch reads, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import Misconfigured, Unreadable
from blocks.model import BadRecord, Cursor, Page
from blocks.rules import Condition, CustomField, Intake, Rules, TypeRule, ValueMap
from blocks.store.tables import Incident, Link
from tasks.mirroring import pull
from tasks.mirroring.pull import first_fetch
from tests.fakes.toy import World
from tests.mirrors import START, Bench, LiveToy

DAY = 86_400


def old_and_new(bench: Bench) -> World:
    """A world with an incident of five days ago, one of two days ago and one of now."""
    world = bench.mirrors["a"].world
    for name, days in (("old", -5), ("recent", 3), ("new", 2)):
        bench.clock.go(days * DAY)
        world.add({"name": name})
    return world


async def titles(bench: Bench) -> list[str]:
    return [row["title"] for row in await bench.rows(Incident)]


async def test_a_first_fetch_reaches_back_so_many_days(bench: Bench) -> None:
    bench.mirror(intake=Intake(first_fetch_days=3))
    old_and_new(bench)
    await bench.cycle()
    assert await titles(bench) == ["recent", "new"]


async def test_a_first_fetch_begins_at_a_date(bench: Bench) -> None:
    bench.mirror(intake=Intake(first_fetch_from=(START - timedelta(hours=1)).isoformat()))
    old_and_new(bench)
    await bench.cycle()
    assert await titles(bench) == ["new"]


@pytest.mark.parametrize("date", ["2026-11-01", "2026-11-01T00:00:00", "yesterday", "2026-13-01T00:00:00Z"])
async def test_a_date_that_cannot_be_read_or_has_no_zone_is_told(bench: Bench, date: str) -> None:
    bench.mirror(intake=Intake(first_fetch_from=date))
    with pytest.raises(Misconfigured, match=date):
        await bench.cycle()


def test_a_date_in_another_zone_means_its_own_moment() -> None:
    begin = first_fetch(Intake(first_fetch_from="2026-11-01T02:00:00+02:00"), START)
    assert begin == datetime(2026, 11, 1, tzinfo=UTC)
    assert begin.tzinfo is UTC


async def test_a_look_back_never_makes_a_duplicate(bench: Bench) -> None:
    world = bench.mirror()
    old_and_new(bench)
    world.comment("2", "once")
    await bench.cycle()
    bench.change(intake=Intake(look_back_minutes=43200))
    mirror = await bench.cycle()
    # The oldest was never read: the look-back brings it, and nothing else again.
    assert mirror.tally.counts["read"] == 3
    assert await titles(bench) == ["recent", "new", "old"]
    assert [entry.text for entry in await bench.entries(1)] == ["once"]
    await bench.cycle()
    assert len(await bench.rows(Incident)) == 3


async def test_records_of_the_same_second_are_all_read_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "PAGE", 2)
    world = bench.mirror(world=World(tick=60, settle=0))
    for number in range(7):
        world.add({"name": f"n{number}"})
    await bench.cycle(after=0)
    world.add({"name": "n7"})
    await bench.cycle(after=0)
    await bench.cycle()
    assert sorted(await titles(bench)) == [f"n{number}" for number in range(8)]


async def test_a_value_that_is_in_no_map_leaves_its_field_alone_with_one_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    world = bench.mirror()
    for _ in range(3):
        world.add({"name": "x", "level": "p9"})
    mirror = await bench.cycle()
    assert [row["severity"] for row in await bench.rows(Incident)] == [None, None, None]
    assert [note for note in mirror.tally.notes if '"p9"' in note] == mirror.tally.notes
    assert len(mirror.tally.notes) == 1
    assert sum("p9" in record.getMessage() for record in caplog.records) == 1
    world.edit("1", level="p1")
    await bench.cycle()
    assert (await bench.incident(1)).severity == "critical"
    world.edit("1", level="p8")
    mirror = await bench.cycle()
    assert (await bench.incident(1)).severity == "critical"
    assert mirror.tally.counts["unmapped"] == 1
    assert world.fields("1")["level"] == "p8"


async def test_only_what_passes_the_filter_becomes_ours(bench: Bench) -> None:
    world = bench.mirror(intake=Intake(filter=[Condition("severity", "at least", "high")]))
    world.add({"name": "bad", "level": "p1"})
    world.add({"name": "mild", "level": "p4"})
    await bench.cycle()
    assert await titles(bench) == ["bad"]
    world.edit("2", level="p2")
    await bench.cycle()
    assert await titles(bench) == ["bad", "mild"]


async def test_an_incident_that_leaves_the_filter_still_mirrors_its_close(bench: Bench) -> None:
    world = bench.mirror(intake=Intake(filter=[Condition("status", "is", "new")]))
    world.add({"name": "x"})
    await bench.cycle()
    world.edit("1", state="shut", why="Fixed", notes="it was the cable")
    await bench.cycle()
    incident = await bench.incident(1)
    assert (incident.status, incident.close_reason, incident.close_notes) == ("closed", "Fixed", "it was the cable")


async def test_the_systems_own_query_is_asked_once_a_page_and_only_for_strangers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "PAGE", 3)
    world = bench.mirror(intake=Intake(query="who=ann"))
    for number in range(6):
        world.add({"name": f"n{number}", "who": "ann" if number % 2 else "bob"})
    await bench.cycle()
    assert await titles(bench) == ["n1", "n3", "n5"]
    assert world.calls.count("matching") == 2
    bench.clock.go(60)
    for one in ("2", "4", "6"):
        world.edit(one, name="edited", who="zoe")
    await bench.cycle()
    world.edit("2", name="later")
    await bench.cycle()
    assert "matching" not in world.calls
    assert await titles(bench) == ["later", "edited", "edited"]


async def test_the_classifier_gives_the_type(bench: Bench) -> None:
    types = [TypeRule("red", "Malware"), TypeRule("blue", "Phishing")]
    world = bench.mirror(intake=Intake(type_field="labels", types=types, default_type="Other"))
    for tags in (["blue"], ["blue", "red"], ["green"]):
        world.add({"name": "x", "tags": tags})
    await bench.cycle()
    assert [row["type"] for row in await bench.rows(Incident)] == ["Phishing", "Malware", "Other"]


async def test_a_mirrored_edit_never_rewrites_the_type(bench: Bench) -> None:
    world = bench.mirror(intake=Intake(type_field="owner", types=[TypeRule("ann", "Hers")]))
    world.add({"name": "x", "who": "ann"})
    await bench.cycle()
    await bench.edit(1, type="Ransom")
    world.edit("1", who="bob")
    await bench.cycle()
    assert ((await bench.incident(1)).type, (await bench.incident(1)).owner) == ("Ransom", "bob")


async def test_values_of_the_mirrors_own_go_before_the_connectors(bench: Bench) -> None:
    maps = [
        ValueMap("severity", "p9", "critical"),
        ValueMap("severity", "p3", "high"),
        ValueMap("owner", "ann", "Ann A"),
    ]
    world = bench.mirror(intake=Intake(values=maps))
    world.add({"name": "x", "level": "p9", "who": "ann"})
    world.add({"name": "y", "level": "p3", "who": "bob"})
    await bench.cycle()
    rows = await bench.rows(Incident)
    assert [(row["severity"], row["owner"]) for row in rows] == [("critical", "Ann A"), ("high", "bob")]
    await bench.edit(1, severity="high", owner="zoe")
    await bench.cycle()
    assert (world.fields("1")["level"], world.fields("1")["who"]) == ("p3", "zoe")


async def test_custom_fields_travel_both_ways(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(custom=[CustomField("site", "location")]))
    world.add({"name": "x", "location": "Graz", "floor": 3})
    await bench.cycle()
    incident = await bench.incident(1)
    assert (incident.custom, incident.extra) == ({"site": "Graz"}, {"floor": 3})
    await bench.edit(1, site="Linz")
    await bench.cycle()
    assert world.fields("1")["location"] == "Linz"
    world.edit("1", location="Wien", floor=4)
    await bench.cycle()
    incident = await bench.incident(1)
    assert (incident.custom, incident.extra) == ({"site": "Wien"}, {"floor": 4})


async def test_a_title_of_nothing_is_nothing(bench: Bench) -> None:
    world = bench.mirror()
    world.add({"name": None})
    await bench.cycle()
    assert await titles(bench) == [None]
    world.edit("1", name="at last")
    await bench.cycle()
    assert await titles(bench) == ["at last"]


async def test_a_record_that_the_store_cannot_hold_is_parked_and_the_rest_goes_on(bench: Bench) -> None:
    world = bench.mirror()
    world.add({"name": "nul \0 here"})
    world.add({"name": "x" * 1001})
    world.add({"name": "good"})
    await bench.cycle()
    assert await titles(bench) == ["good"]
    assert [(row["kind"], row["remote_id"]) for row in await bench.parked()] == [("record", "1"), ("record", "2")]
    assert ["title" in row["error"] for row in await bench.parked()] == [True, True]


class Torn(LiveToy):
    """Its record 2 cannot be read, and a page that holds record 3 is too large for more than one."""

    _block_type_name = "Torn Toy"

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        async for page in super().changes(since, size):
            if size > 1 and any(one.id == "3" for one in page.incidents):
                message = "the page is too large"
                raise Unreadable(message, system=self.fingerprint(), call="changes")
            bad = [BadRecord(one.id, "{it is torn", "not JSON") for one in page.incidents if one.id == "2"]
            yield replace(page, incidents=[one for one in page.incidents if one.id != "2"], bad=bad)


async def test_a_bad_record_is_parked_raw_and_a_page_that_cannot_be_read_is_halved(bench: Bench) -> None:
    world = bench.mirror(toy=Torn)
    for number in range(1, 6):
        world.add({"name": f"n{number}"})
        bench.clock.go(1)
    await bench.cycle()
    assert await titles(bench) == ["n1", "n3", "n4", "n5"]
    (parked,) = {(row["kind"], row["remote_id"], row["payload"], row["error"]) for row in await bench.parked()}
    assert parked == ("record", "2", "{it is torn", "not JSON")


class Broken(LiveToy):
    """Its record 3 cannot be read at all."""

    _block_type_name = "Broken Toy"

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        async for page in super().changes(since, size):
            if any(one.id == "3" for one in page.incidents):
                message = "the answer is no JSON"
                raise Unreadable(message, system=self.fingerprint(), call="changes", id="3")
            yield page


async def test_a_record_that_breaks_its_page_stops_this_system_at_its_cursor(bench: Bench) -> None:
    world = bench.mirror(toy=Broken)
    for number in range(1, 6):
        world.add({"name": f"n{number}"})
        bench.clock.go(30)
    for _ in range(2):
        with pytest.raises(Unreadable, match="no JSON"):
            await bench.cycle()
        assert await titles(bench) == ["n1", "n2"]
    bench.change(toy=LiveToy)
    await bench.cycle()
    assert await titles(bench) == ["n1", "n2", "n3", "n4", "n5"]


async def test_another_system_under_the_same_name_is_refused(bench: Bench) -> None:
    bench.mirror("a")
    await bench.cycle("a")
    elsewhere = LiveToy.of(World(now=bench.clock), "b")
    mirror = await bench.open("a")
    with pytest.raises(Misconfigured, match="a name of its own"):
        await type(mirror).open(bench.database, elsewhere, "a", now=bench.clock)


async def test_a_changed_map_writes_nothing_and_a_newly_mapped_field_begins_where_both_stand(bench: Bench) -> None:
    world = bench.mirror()
    world.add({"name": "x", "level": "p3", "location": "Graz"})
    await bench.cycle()
    await bench.edit(1, site="Linz")
    await bench.settled()
    maps = [ValueMap("severity", "p3", "critical")]
    bench.change(rules=Rules(custom=[CustomField("site", "location")]), intake=Intake(values=maps))
    await bench.settled()
    incident = await bench.incident(1)
    assert (incident.severity, incident.custom) == ("medium", {"site": "Linz"})
    assert (world.fields("1")["level"], world.fields("1")["location"]) == ("p3", "Graz")
    world.edit("1", location="Wien")
    await bench.cycle()
    assert (await bench.incident(1)).custom == {"site": "Wien"}
    await bench.edit(1, site="Bern")
    await bench.cycle()
    assert world.fields("1")["location"] == "Bern"


async def test_an_idle_cycle_reads_its_page_and_nothing_else(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    world.add({"name": "x"})
    world.comment("1", "words")
    await bench.settled()
    links = await bench.rows(Link)
    await bench.cycle()
    assert world.calls == ["changes"]
    assert await bench.rows(Link) == links
