"""An incident and a record that a person links: what the tests of both flows begin with."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from blocks.rules import Intake, Rules
from blocks.store.tables import Conflict, Intent, Link
from flows.links import link, unlink
from tasks.decide.start import Start
from tests.fakes.toy import World
from tests.mirrors import WRITES, Bench, LiveToy


async def apart(bench: Bench, **setup: Any) -> World:
    """Incident 1 of the store and record 1 of mirror a, which know nothing of each other; the mirror ran before."""
    setup.setdefault("rules", Rules(direction="both"))
    world = bench.mirror(intake=Intake(first_fetch_days=0), **setup)
    world.add({"name": "theirs", "who": "ann", "level": "p2"})
    world.comment("1", "theirs")
    bench.clock.go(86_400)
    await bench.cycle()
    assert await bench.rows(Link) == []
    number = await bench.create(title="ours", severity="low", labels=["vip"])
    await bench.comment(number, "ours")
    assert number == 1
    return world


def toy(bench: Bench, name: str = "a") -> LiveToy:
    """The block that a person picks."""
    return LiveToy.of(bench.mirrors[name].world, name)


async def linked(
    bench: Bench, incident: int = 1, remote: str = "1", start: Start = "store", name: str = "a"
) -> State[Any]:
    """What the flow ends with."""
    # A toy stands for a vendor: the union has real ones alone.
    return await link.fn(incident, toy(bench, name), remote, start, "cleo")  # type: ignore[arg-type]


async def unlinked(incident: int = 1, mirror: str = "", reason: str = "") -> State[Any]:
    """What the flow ends with."""
    return await unlink.fn(incident, "cleo", mirror, reason)


async def quiet(bench: Bench, name: str = "a") -> None:
    """Nothing is left to be sent, and nothing waits."""
    before = [one.version for one in (await bench.incident(1),)]
    await bench.settled(name)
    assert not WRITES & set(bench.mirrors[name].world.calls)
    assert [one["dirty"] for one in await bench.rows(Link) if one["state"] == "linked"] in ([0], [])
    assert await bench.rows(Conflict) == []
    assert await bench.parked() == []
    assert [(await bench.incident(1)).version] == before


async def lost(bench: Bench, call: str) -> World:
    """A write of incident 1 whose answer was lost a moment ago."""
    world = await apart(bench, rules=Rules(create=call == "create"))
    if call != "create":
        await linked(bench)
        await bench.settled()
        await bench.edit(1, title="edited")
    world.fault = lambda name: "after" if name == call else None
    with pytest.raises(Exception, match="no answer"):
        await bench.cycle(after=60)
    world.fault = lambda _call: None
    assert len(await bench.rows(Intent)) == 1
    return world
