"""What a process that will be killed does: mirror cycles without Prefect, or people's work in the store, for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

from pydantic import SecretStr
from sqlalchemy import select, update

from blocks import points
from blocks.errors import Busy, LockstepError
from blocks.store import Database, Store
from blocks.store.links import INCIDENT, PARKED
from blocks.store.locks import Lock, hold
from chaos.damage import drift
from chaos.insiders import InStore, now
from chaos.universe import FREE, NONE, Mirror
from flows.cycle import lock_name
from tasks.mirroring.apply import Applied
from tasks.mirroring.cycle import Steps, cycle
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import PLAN
from tasks.mirroring.reconcile import reconcile
from tasks.mirroring.replay import read_asked
from tasks.mirroring.trouble import forget, remember

KILLED = "killed here"
RECONCILES = 0.1
"""How often a turn is a reconcile."""

STAYS = timedelta(seconds=1)
"""How long a held plan waits for a person before its deadline passes."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one process is to do. `wanted`: where it dies, by its own hand: point to occurrences that it lets pass.

    `mirror` None: it is people's. `held`: it begins with a brake that holds any plan. `only`: how often a cycle is for
    some incidents only, and for how many.
    """

    url: str
    trace: Path
    seed: str
    mirror: Mirror | None = None
    book: Path = Path()
    wanted: dict[str, int] = field(default_factory=dict)
    held: bool = False
    only: float = 0.1
    some: int = 8


class Doom:
    """Writes down each point that is reached, and kills its own process at one that is wanted."""

    def __init__(self, trace: Path, wanted: dict[str, int]) -> None:
        self.handle = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.wanted = dict(wanted)

    def __call__(self, point: str) -> None:
        """Reach a point."""
        os.write(self.handle, f"{point}\n".encode())
        left = self.wanted.get(point)
        if left is None:
            return
        if left:
            self.wanted[point] = left - 1
            return
        os.write(self.handle, f"{KILLED}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def live(life: Life) -> None:
    """Work until killed. What no life may end with is written beside the trace."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    points.watch(Doom(life.trace, life.wanted))
    try:
        asyncio.run(_people(life) if life.mirror is None else _mirror(life, life.mirror))
    except BaseException:
        life.trace.with_suffix(".error").write_text(traceback.format_exc(), encoding="utf-8")
        raise


async def _people(life: Life) -> None:
    database = await _open(life)
    await InStore(database, life.book, life.seed, Random(life.seed)).work()


async def _open(life: Life) -> Database:
    while True:
        with suppress(Busy):
            return await Store(url=SecretStr(life.url)).open()


class Guarded(Steps):
    """Steps that look whether the lock is still theirs before they write, as the flows' do."""

    def __init__(self, m: Mirroring, lock: Lock) -> None:
        super().__init__(m)
        self.lock = lock

    async def apply(self, plan_id: int, after: int) -> Applied:
        """Apply the next batch."""
        await self.lock.check()
        return await super().apply(plan_id, after)


async def _mirror(life: Life, mirror: Mirror) -> None:
    database, dice = await _open(life), Random(life.seed)
    look_back, limits = dice.choice((0, 1)), NONE if life.held else FREE
    while True:
        system = mirror.system()
        try:
            async with system:
                while True:
                    only = await _some(database, dice, life.some) if dice.random() < life.only else None
                    async with hold(database, lock_name(system), wait=1.0) as lock:
                        await let_time_pass(database)
                        m = await mirror.open(database, system, limits=limits, look_back=look_back)
                        if await _asked(m):
                            await read_asked(m)
                        await _turn(m, lock, dice, only)
                    await forget(database, mirror.name)
                    limits = limits if dice.random() < 0.7 else FREE
                    await asyncio.sleep(dice.uniform(0, 0.1))
        except Busy:
            continue
        except LockstepError as error:
            await remember(database, mirror.name, type(error).__name__)
            await asyncio.sleep(dice.uniform(0.05, 0.3))


async def _turn(m: Mirroring, lock: Lock, dice: Random, only: Sequence[int] | None) -> None:
    """A cycle, or now and then a reconcile, of a store that may have been damaged."""
    steps = Guarded(m, lock)
    if dice.random() < RECONCILES:
        await drift(m.database, m.system_id, dice)
        await reconcile(m, dry=dice.random() < 0.2, steps=steps)
    else:
        await cycle(m, only=only, steps=steps)


async def _some(database: Database, dice: Random, most: int) -> Sequence[int]:
    async with database.read() as connection:
        ids = list((await connection.execute(select(INCIDENT.c.id))).scalars())
    return dice.sample(ids, min(most, len(ids)))


async def _asked(m: Mirroring) -> bool:
    """Whether a person had something read again, for which a flow would run."""
    query = select(PARKED.c.id).where(PARKED.c.system_id == m.system_id, PARKED.c.state == "asked")
    async with m.database.read() as connection:
        return (await connection.execute(query)).first() is not None


async def let_time_pass(database: Database, stays: timedelta = STAYS) -> None:
    """The hours that a held plan may wait are over after seconds here."""
    late = (PLAN.c.state == "held", PLAN.c.created < now() - stays)
    async with database.read() as connection:
        if (await connection.execute(select(PLAN.c.id).where(*late))).first() is None:
            return
    async with database.engine.begin() as connection:
        await connection.execute(update(PLAN).where(*late).values(deadline=now() - timedelta(seconds=1)))
