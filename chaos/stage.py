"""One universe from beginning to end: people, faults and kills; then all stop, both sides settle, and are compared."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from random import Random
from typing import Any

from pydantic import SecretStr

from blocks.errors import LockstepError
from blocks.incidents import Roundup
from blocks.store import Database
from blocks.store import Store as StoreBlock
from blocks.store.locks import Lock, hold
from chaos.compare import Found, compare
from chaos.director import Director, Quota, Tally
from chaos.insiders import InStore, noted
from chaos.people import Deed, InTracker
from chaos.sides import Store, There
from chaos.universe import Universe
from chaos.weather import CALM, changing
from chaos.worker import Guarded, let_time_pass
from flows.cycle import lock_name
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconcile import reconcile
from tasks.mirroring.replay import read_asked

ROUNDS = 60
QUIET = 3
"""So many rounds without a change, and it has come to rest."""

WRITES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(slots=True)
class Ended:
    """What came of a universe."""

    name: str
    tally: Tally
    found: Found
    faults: Counter[str] = field(default_factory=Counter)


async def play(name: str, world: Universe, quota: Quota, seed: str, context: ForkServerContext, limit: float) -> Ended:
    """Play one universe with the engine in worker processes, for so many seconds at most."""
    ended = Ended(name, Tally(), Found())
    director = Director(world, quota, Random(f"{seed} kills"), ended.tally, context)
    async with crowd(world, seed) as crowds:
        await director.run(limit)
    await finish(world, crowds, seed, ended)
    return ended


@asynccontextmanager
async def crowd(world: Universe, seed: str, *, gentle: bool = False) -> AsyncIterator[list[InTracker]]:
    """People in the trackers and changing weather, until the block ends; then calm, and nothing is deleted."""
    crowds = [
        InTracker(name, one.tell, _looks(one.see), Random(f"{seed} people {name}"))
        for name, one in world.trackers.items()
    ]
    weathers = [
        changing(one.tell, Random(f"{seed} weather {name}"), gentle=gentle) for name, one in world.trackers.items()
    ]
    tasks = [asyncio.create_task(one) for one in (*(some.work() for some in crowds), *weathers)]
    try:
        yield crowds
        for one in tasks:
            if one.done():
                one.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for some in crowds:
        await some.restore()
    for served in world.trackers.values():
        await served.tell("faults", **CALM)


def _looks(see: Any) -> Any:  # noqa: ANN401  a bound method
    async def look() -> Any:  # noqa: ANN401  any JSON
        return await see("look")

    return look


async def finish(world: Universe, crowds: list[InTracker], seed: str, ended: Ended) -> None:
    """Let both sides settle, and compare them."""
    database = await StoreBlock(url=SecretStr(world.url)).open()
    try:
        steward = InStore(database, world.folder / "book", "steward", Random(f"{seed} steward"))
        # What waits for a person is decided once everything has come in, and what this brings with it once more.
        for _ in range(2):
            for name in world.mirrors:
                await one_turn(world, database, name, reconcile_it)
            ended.found.different += await settled(world, database)
            await steward.tidy(all_of_it=True)
        ended.found.different += await settled(world, database)
        ended.found.different += await idle(world, database)
        deeds = [deed for some in crowds for deed in some.deeds] + noted(world.folder / "book")
        ended.found.add(await compared(world, database, deeds))
        for one in world.trackers.values():
            ended.faults.update((await one.see())["met"])
    finally:
        await database.close()


async def compared(world: Universe, database: Database, deeds: list[Deed]) -> Found:
    """Compare the store with both trackers."""
    store = await Store.read(database)
    there = [
        There(name, await one.see(), Roundup.fields.fget(world.mirrors[name].system()), f"lockstep-{store.id}-")  # type: ignore[attr-defined]
        for name, one in world.trackers.items()
    ]
    creating = frozenset(name for name, one in world.mirrors.items() if one.rules.create)
    return compare(store, there, deeds, creating)


async def settled(world: Universe, database: Database) -> list[str]:
    """Run cycles until nothing moves any more; answers what still does after many."""
    before, quiet = "", 0
    for _ in range(ROUNDS):
        for name in world.mirrors:
            await one_turn(world, database, name)
        store = await Store.read(database)
        now = f"{store.rows['incident']}{store.rows['link']}{store.rows['entry_link']}{store.rows['parked']}"
        quiet = quiet + 1 if now == before and not store.restless else 0
        if quiet == QUIET:
            return []
        before = now
        await asyncio.sleep(0.5)
    return [f"after {ROUNDS} rounds {store.restless} links and writes still move"]


async def idle(world: Universe, database: Database) -> list[str]:
    """One cycle more of each mirror must write nothing; answers what it wrote."""
    wrong = []
    for name, one in world.trackers.items():
        before = (await one.see())["calls"]
        await one_turn(world, database, name)
        after = Counter((await one.see())["calls"]) - Counter(before)
        wrong += [f"an idle cycle of {name} sends {call}" for call in after if call.startswith(WRITES)]
    return wrong


async def cycle_it(m: Mirroring, lock: Lock) -> None:
    """One cycle."""
    await read_asked(m)
    await cycle(m, steps=Guarded(m, lock))


async def reconcile_it(m: Mirroring, lock: Lock) -> None:
    """Everything is read on both sides."""
    await reconcile(m, dry=False, steps=Guarded(m, lock))


async def one_turn(
    world: Universe,
    database: Database,
    name: str,
    work: Callable[[Mirroring, Lock], Awaitable[None]] = cycle_it,
) -> None:
    """One turn of a mirror, as a flow runs it."""
    mirror = world.mirrors[name]
    system = mirror.system()
    try:
        async with system, hold(database, lock_name(system), wait=10) as lock:
            await let_time_pass(database)
            await work(await mirror.open(database, system), lock)
    except LockstepError as error:
        print(f"  {name}: {error}")
