"""Answers that are lost and processes that die: nothing lost, nothing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import Unavailable
from blocks.rules import Condition, Intake, PreRule, Rule, Rules, Travel
from blocks.store import Database
from blocks.store.tables import Incident, Intent, Link
from tests.fakes.toy import World
from tests.mirrors import Bench, Death, careless, copy_of
from tests.oracle import Ledger, judge


async def linked(bench: Bench, count: int = 1, *, create: bool = True, **settings: Any) -> World:
    """So many incidents, in step."""
    world = bench.mirror(world=World(**settings), rules=Rules(create=create))
    for number in range(count):
        world.add({"name": f"n{number}"})
    await bench.settled()
    return world


def failing(world: World, call: str, when: str, *, on: int = 1) -> None:
    """The `on`th call of this name fails, before or after it is applied."""
    counts: Counter[str] = Counter()

    def between(name: str) -> None:
        counts[name] += 1

    world.between = between
    world.fault = lambda name: when if name == call and counts[call] == on else None


def well(world: World) -> None:
    """Everything works again."""
    world.between, world.fault = lambda _call: None, lambda _call: None


async def test_when_a_system_goes_away_in_the_middle_the_rest_waits_and_nothing_is_doubled(bench: Bench) -> None:
    world = await linked(bench, 5)
    for number in range(1, 6):
        await bench.edit(number, title=f"edited {number}")
        await bench.comment(number, f"words {number}")
    failing(world, "update", "before", on=3)
    with pytest.raises(Unavailable, match="refused"):
        await bench.cycle()
    # What was certainly not taken leaves no intent.
    assert not await bench.rows(Intent)
    well(world)
    await bench.settled()
    assert [world.fields(str(number))["name"] for number in range(1, 6)] == [f"edited {n}" for n in range(1, 6)]
    assert [[e.text for e in one.entries] for one in world.records.values()] == [[f"words {n}"] for n in range(1, 6)]
    assert [len(one.states) for one in world.records.values()] == [3] * 5


async def test_an_update_whose_answer_was_lost_is_found_to_be_done(bench: Bench) -> None:
    world = await linked(bench)
    await bench.edit(1, title="edited")
    failing(world, "update", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    assert len(await bench.rows(Intent)) == 1
    well(world)
    await bench.settled()
    assert len(world.records["1"].states) == 2
    assert [act.action for act in await bench.history(1)] == ["created", "edited", "sent"]


async def test_an_update_whose_answer_was_lost_and_that_was_edited_since_is_decided_anew(bench: Bench) -> None:
    world = await linked(bench)
    bench.change(rules=Rules(title=Rule("both", "system")))
    await bench.edit(1, title="edited")
    failing(world, "update", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    world.edit("1", name="edited since")
    await bench.settled()
    assert ((await bench.incident(1)).title, world.fields("1")["name"]) == ("edited since", "edited since")


async def test_a_create_whose_answer_was_lost_is_found_by_its_key(bench: Bench) -> None:
    world = await linked(bench, 0, lag=10.0)
    await bench.create(title="new")
    await bench.comment(1, "words")
    failing(world, "create", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    await bench.cycle(after=1)
    assert len(world.records) == 1
    await bench.settled()
    assert len(world.records) == len(await bench.rows(Incident)) == 1
    assert [entry.text for entry in world.records["1"].entries] == ["words"]
    assert (await bench.link(1))["remote_id"] == "1"


async def test_a_create_that_never_arrived_goes_again(bench: Bench) -> None:
    world = await linked(bench, 0)
    await bench.create(title="new")
    assert await Death("before create").during(bench.cycle())
    assert (len(world.records), len(await bench.rows(Intent))) == (0, 1)
    await bench.settled()
    assert [world.fields(number)["name"] for number in world.records] == ["new"]
    assert not await bench.rows(Intent)


async def test_a_create_without_a_key_whose_answer_was_lost_waits_for_a_person(bench: Bench) -> None:
    world = await linked(bench, 0, keys=False)
    bench.change(rules=Rules(create=True, direction="out"))
    await bench.create(title="new")
    failing(world, "create", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    await bench.settled()
    assert len(world.records) == 1
    (parked,) = await bench.parked()
    assert parked["kind"] == "create"
    assert "the answer was lost" in parked["error"]
    await bench.cycle()
    assert world.calls == ["changes"]
    assert not await bench.rows(Intent)


@pytest.mark.parametrize("keys", [True, False])
async def test_an_entry_whose_answer_was_lost_is_found_again(bench: Bench, keys: bool) -> None:  # noqa: FBT001  a row of the table
    world = await linked(bench, entry_keys=keys)
    await bench.comment(1, "before")
    await bench.settled()
    for words in ("again", "again", "after"):
        await bench.comment(1, words)
    failing(world, "add_entry", "after", on=2)
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == ["before", "again", "again", "after"]
    assert len(await bench.entries(1)) == 4


async def test_of_two_equal_entries_without_keys_each_is_found_once(bench: Bench) -> None:
    world = await linked(bench, entry_keys=False)
    await bench.comment(1, "the same words")
    await bench.settled()
    for _ in range(3):
        await bench.comment(1, "the same words")
    assert await Death("before commit answers").during(bench.cycle())
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == ["the same words"] * 4
    assert len(await bench.entries(1)) == 4


async def test_what_settling_finds_is_not_what_was_found_before(bench: Bench) -> None:
    """The same, in a mirror that reads no comments: only settling looks for them."""
    world = bench.mirror(world=World(entry_keys=False), rules=Rules(comments=Travel("out"), files=Travel("out")))
    world.add({"name": "x"})
    await bench.settled()
    for _ in range(3):
        await bench.comment(1, "the same words")
    assert await Death("after add_entry").during(bench.cycle())
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == ["the same words"] * 3


@pytest.mark.parametrize("direction", ["both", "out"])
@pytest.mark.parametrize("keys", [True, False])
async def test_an_entry_of_an_incident_that_was_away_is_not_sent_twice(
    bench: Bench,
    keys: bool,  # noqa: FBT001  a row of the table
    direction: Any,
) -> None:
    """Its answer was lost, then the incident vanished and came back: only then can it be told."""
    world = await linked(bench, entry_keys=keys)
    bench.change(rules=Rules(comments=Travel(direction), files=Travel(direction)))
    await bench.comment(1, "words")
    failing(world, "add_entry", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    world.records["1"].retired = True
    await bench.settled()
    assert (await bench.link(1))["state"] == "gone"
    world.records["1"].retired = False
    world.edit("1", name="back")
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == ["words"]
    assert len(await bench.entries(1)) == 1
    assert not await bench.rows(Intent)


async def test_an_entry_of_an_incident_that_was_away_for_a_moment_is_not_sent_twice(bench: Bench) -> None:
    world = await linked(bench, entry_keys=False)
    await bench.comment(1, "words")
    failing(world, "add_entry", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    world.records["1"].retired = True
    await bench.cycle(after=20)
    world.records["1"].retired = False
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == ["words"]
    assert not await bench.rows(Intent)


async def test_a_young_intent_waits_and_holds_up_its_own_incident_only(bench: Bench) -> None:
    world = await linked(bench, 2, settle=60.0)
    await bench.edit(1, title="edited")
    failing(world, "update", "after")
    with pytest.raises(Unavailable):
        await bench.cycle()
    well(world)
    await bench.edit(1, owner="ann")
    await bench.edit(2, owner="bea")
    mirror = await bench.cycle(after=5)
    assert mirror.tally.counts["unsettled"] == 1
    assert (world.fields("1")["who"], world.fields("2")["who"]) == (None, "bea")
    await bench.cycle(after=61)
    assert (world.fields("1")["name"], world.fields("1")["who"]) == ("edited", "ann")
    assert not await bench.rows(Intent)


RICH = Intake(
    filter=[Condition("severity", "at least", "low")],
    rules=[PreRule([Condition("title", "contains", "twin")], "relate and close", ["owner"])],
)


async def rich(bench: Bench, **settings: Any) -> World:
    """An incident for each kind of work: created here and there, edited on both sides, commented, closed, gone."""
    world = bench.mirror(world=World(settle=5.0, **settings), rules=Rules(create=True, gone="close"), intake=RICH)
    for number in range(6):
        world.add({"name": f"n{number}", "level": "p3", "who": f"o{number}"})
    await bench.settled()
    await bench.edit(1, title="edited here")
    world.edit("1", level="p1")
    await bench.comment(1, "said here")
    world.comment("1", "said there")
    world.comment("1", "", kind="file", name="f", data=b"bytes", size=5)
    await bench.edit(2, status="closed", close_reason="Fixed")
    world.edit("3", state="done", why="Fixed")
    world.records["4"].retired = True
    await bench.comment(4, "to nobody")
    await bench.create(title="created here", severity="high")
    await bench.comment(7, "first words")
    world.add({"name": "created there", "level": "p2"})
    world.add({"name": "a twin", "level": "p2", "who": "o4"})
    await bench.edit(6, owner="edited here")
    world.edit("6", who="edited there")
    return world


def state_of(world: World) -> Any:
    """What the world shows in the end, whatever order things were done in."""
    shown = [
        (record.states[-1][1], [(e.kind, e.text, e.name, e.data, e.author) for e in record.entries])
        for record in world.records.values()
    ]
    return sorted(shown, key=lambda one: str(one[0]["name"]))


async def ours(bench: Bench) -> Any:
    """What the store shows in the end."""
    names = ("title", "status", "severity", "owner", "close_reason", "close_notes", "type")
    incidents = await bench.rows(Incident)
    entries = {row["id"]: [(e.kind, e.text, e.name) for e in await bench.entries(row["id"])] for row in incidents}
    shown = [([row[name] for name in names], sorted(entries[row["id"]])) for row in incidents]
    states = Counter(row["state"] for row in await bench.rows(Link))
    return sorted(shown, key=str), states


async def killed_everywhere(template: Path, folder: Path, **settings: Any) -> set[str]:
    """Kill the cycle at each of its points, each time in a fresh store; answers the points."""
    wanted, points = None, set[str]()
    for number in (None, *range(200)):
        bench = Bench(careless(Database(copy_of(template, folder, f"kill-{number}"))))
        world = await rich(bench, **settings)
        death = Death(number)
        killed = await death.during(bench.cycle())
        await bench.settled(rounds=4)
        found = (state_of(world), await ours(bench))
        await judge(bench, Ledger())
        assert not await bench.rows(Intent)
        await bench.database.close()
        if wanted is None:
            wanted = found
        elif not killed:
            return points
        else:
            point = death.reached[number or 0]
            assert found == wanted, f"killed at point {number}, {point}"
            points.add(point)
    pytest.fail("the cycle has no end")


@pytest.mark.parametrize("keys", [True, False])
async def test_killed_at_each_point_of_a_rich_cycle_it_ends_as_if_nothing_had_happened(
    sqlite_template: Path,
    tmp_path: Path,
    keys: bool,  # noqa: FBT001  a row of the table
) -> None:
    points = await killed_everywhere(sqlite_template, tmp_path, entry_keys=keys)
    calls = {"changes", "entries", "content", "update", "create", "add_entry"}
    commits = {"register", "page", "plan", "release", "intents", "answers", "plan done"}
    wanted = calls | {f"commit {name}" for name in commits}
    assert {f"{side} {name}" for name in wanted for side in ("before", "after")} <= points
