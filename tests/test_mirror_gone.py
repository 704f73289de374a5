"""Incidents that vanish from their system, and those that come back."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import Unavailable
from blocks.rules import Limits, Rules
from blocks.store.tables import Conflict, Link
from tests.fakes.toy import World
from tests.mirrors import Bench


async def vanished(bench: Bench, gone: Any = "keep", **setup: Any) -> World:
    """Two incidents in step; the first has vanished, and somebody edited it here."""
    world = bench.mirror(rules=Rules(gone=gone), **setup)
    world.add({"name": "one"})
    world.add({"name": "two"})
    await bench.settled()
    world.records["1"].retired = True
    await bench.edit(1, title="edited")
    return world


async def states(bench: Bench) -> list[str]:
    return [row["state"] for row in await bench.rows(Link)]


@pytest.mark.parametrize(
    ("gone", "state", "status", "reason"),
    [("keep", "gone", "new", None), ("close", "gone", "closed", "Gone"), ("unlink", "unlinked", "new", None)],
)
async def test_what_is_gone_is_kept_closed_or_unlinked(
    bench: Bench, gone: str, state: str, status: str, reason: str | None
) -> None:
    world = await vanished(bench, gone)
    await bench.settled()
    assert await states(bench) == [state, "linked"]
    incident = await bench.incident(1)
    assert (incident.status, incident.close_reason, incident.title) == (status, reason, "edited")
    await bench.cycle()
    assert world.calls == ["changes"]
    assert [link["dirty"] for link in await bench.rows(Link)] == [0, 0]


async def test_only_a_second_look_in_a_later_cycle_makes_it_gone(bench: Bench) -> None:
    world = await vanished(bench, "close")
    await bench.cycle()
    assert await states(bench) == ["linked", "linked"]
    assert (await bench.incident(1)).status == "new"
    await bench.cycle()
    assert world.calls.count("get") == 1
    assert await states(bench) == ["gone", "linked"]


async def test_it_was_only_away_for_a_moment(bench: Bench) -> None:
    world = await vanished(bench, "close")
    await bench.cycle()
    world.records["1"].retired = False
    await bench.settled()
    assert await states(bench) == ["linked", "linked"]
    assert world.fields("1")["name"] == "edited"
    assert (await bench.incident(1)).status == "new"
    assert (await bench.link(1))["missing_since"] is None


async def test_nothing_is_gone_while_another_read_fails(bench: Bench) -> None:
    world = await vanished(bench, "close")
    await bench.cycle()
    world.fault = lambda call: "before" if call == "changes" else None
    for _ in range(3):
        with pytest.raises(Unavailable):
            await bench.cycle()
    assert await states(bench) == ["linked", "linked"]
    assert (await bench.incident(1)).status == "new"
    world.fault = lambda _call: None
    await bench.cycle()
    assert await states(bench) == ["gone", "linked"]


async def test_a_second_look_that_fails_proves_nothing(bench: Bench) -> None:
    world = await vanished(bench, "close")
    await bench.cycle()
    world.fault = lambda call: "before" if call == "get" else None
    with pytest.raises(Unavailable):
        await bench.cycle()
    assert await states(bench) == ["linked", "linked"]


@pytest.mark.parametrize("gone", ["keep", "close"])
async def test_what_comes_back_is_linked_again_and_both_sides_agree(bench: Bench, gone: str) -> None:
    world = await vanished(bench, gone)
    await bench.settled()
    await bench.edit(1, owner="ann")
    await bench.comment(1, "while it was away")
    world.records["1"].retired = False
    world.edit("1", level="p1")
    await bench.settled()
    assert await states(bench) == ["linked", "linked"]
    incident, shown = await bench.incident(1), world.fields("1")
    assert (incident.title, incident.owner, incident.severity) == ("edited", "ann", "critical")
    assert (shown["name"], shown["who"], shown["level"]) == ("edited", "ann", "p1")
    assert shown["state"] == {"new": "open", "closed": "shut"}[str(incident.status)]
    assert [entry.text for entry in world.records["1"].entries] == ["while it was away"]
    assert not await bench.rows(Conflict)


async def test_what_is_unlinked_stays_alone(bench: Bench) -> None:
    world = await vanished(bench, "unlink")
    await bench.settled()
    world.records["1"].retired = False
    world.edit("1", name="back")
    await bench.settled()
    assert (await bench.incident(1)).title == "edited"
    assert await states(bench) == ["unlinked", "linked"]


@pytest.mark.parametrize(("gone", "limits"), [("close", Limits(closes=1)), ("unlink", Limits(unlinks=1))])
async def test_the_reaction_counts_against_the_brake(bench: Bench, gone: Any, limits: Limits) -> None:
    world = await vanished(bench, gone, limits=limits)
    world.records["2"].retired = True
    await bench.edit(2, title="edited")
    await bench.settled()
    assert await states(bench) == ["linked", "linked"]
    bench.change(limits=Limits())
    bench.clock.go(73 * 3600)
    await bench.settled()
    assert set(await states(bench)) == {"gone" if gone == "close" else "unlinked"}


async def test_a_comment_finds_out_as_well(bench: Bench) -> None:
    world = bench.mirror()
    world.add({"name": "one"})
    await bench.settled()
    world.records["1"].retired = True
    await bench.comment(1, "hello?")
    await bench.settled()
    assert await states(bench) == ["gone"]


async def test_asking_for_one_incident_finds_out_too(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(gone="close"))
    world.add({"name": "one"})
    await bench.settled()
    world.records["1"].retired = True
    await bench.cycle(only=[1])
    assert (await bench.incident(1)).status == "new"
    await bench.cycle(only=[1])
    assert (await bench.incident(1)).status == "closed"
