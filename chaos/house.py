"""Real flow runs under `make run`: their processes and the worker are killed while they mirror."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random
from typing import Final

import psutil
from prefect.settings import PREFECT_API_URL
from prefect.settings.context import temporary_settings
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import select

from blocks.incidents import Roundup
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database, Store
from blocks.store.links import INTENT, SYSTEM
from blocks.store.locks import is_free
from chaos.compare import Found
from chaos.director import Tally
from chaos.insiders import now
from chaos.stage import Ended, crowd, finish
from chaos.universe import FREE, ROOT, Mirror, Universe, universe
from chaos.worker import Life, live
from flows.cycle import lock_name
from tests.running import Running

RUN_ID: Final = "PREFECT__FLOW_RUN_ID"
OVER: Final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
LONGEST: Final = 60.0
"""Seconds in which a run must have come to mirror; then it is killed wherever it is."""


@dataclass(slots=True)
class Runs:
    """The house, its store, and the runs that are started and killed there."""

    house: Running
    world: Universe
    database: Database
    dice: Random
    tally: Tally
    blocks: dict[str, str] = field(default_factory=dict)

    async def save_blocks(self) -> None:
        """The systems, as a person adds them under Blocks."""
        with temporary_settings({PREFECT_API_URL: self.house.api}):
            for name, mirror in self.world.mirrors.items():
                block = Roundup(address=mirror.address, login="admin", password=SecretStr("secret"))
                self.blocks[name] = str(await block.asave(f"chaos-{name}"))

    async def start(self, mirror: Mirror) -> str:
        """Start a run of the deployment, as the UI does; answers its id."""
        deployment = (await asyncio.to_thread(self.house.deployment, "mirror_incidents"))["id"]
        parameters = {
            "mirror": mirror.name,
            "system": {"$ref": {"block_document_id": self.blocks[mirror.name]}},
            "rules": TypeAdapter(Rules).dump_python(mirror.rules, mode="json"),
            "intake": TypeAdapter(Intake).dump_python(mirror.intake, mode="json"),
            "limits": TypeAdapter(Limits).dump_python(FREE, mode="json"),
        }
        path = f"/deployments/{deployment}/create_flow_run"
        made = await asyncio.to_thread(
            self.house.call, "POST", path, parameters=parameters, state={"type": "SCHEDULED"}
        )
        return str(made["id"])

    async def state(self, run: str) -> str:
        """The type of a run's state."""
        return str((await asyncio.to_thread(self.house.call, "GET", f"/flow_runs/{run}"))["state_type"])

    async def kill_some(self, mirror: Mirror, kills: int) -> None:
        """Start runs and kill each: every third time the worker's process too."""
        killed = missed = 0
        while killed < kills:
            begun, run = now(), await self.start(mirror)
            process = await self._mirrors(mirror, run, begun, in_flight=(killed + missed) % 2 == 0)
            if process is None:
                missed += 1  # it was done before it could be killed
                continue
            if killed % 3 == 2:
                self._kill("the worker", await asyncio.to_thread(self.house.pid, "worker"))
            self._kill("a flow run", process.pid)
            killed += 1
            self.tally.random += killed % 2 == 0
            self.tally.in_flight += await self._under_way(mirror, begun)

    def _kill(self, what: str, pid: int) -> None:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.tally.kills += 1
                self.tally.by[f"{what}"] += 1

    async def _mirrors(self, mirror: Mirror, run: str, begun: datetime, *, in_flight: bool) -> psutil.Process | None:
        """Wait until a run writes, or at least is in its turn; its process, None if it is over already."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST
        process: psutil.Process | None = None
        name = lock_name(mirror.system())
        while loop.time() < end:
            process = process or await asyncio.to_thread(_process_of, run)
            if process is None:
                if await self.state(run) in OVER:
                    return None
                await asyncio.sleep(0.1)
            elif not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return None
            elif in_flight and await self._under_way(mirror, begun):
                return process
            elif not in_flight and not await is_free(self.database, name):
                await asyncio.sleep(self.dice.uniform(0, 0.4))
                return process if process.is_running() else None
            else:
                await asyncio.sleep(0.005)
        return process

    async def _under_way(self, mirror: Mirror, begun: datetime) -> bool:
        """Whether a write that this run began has no answer yet."""
        mine = SYSTEM.c.fingerprint == mirror.system().fingerprint()
        query = select(INTENT.c.id).join(SYSTEM, SYSTEM.c.id == INTENT.c.system_id)
        async with self.database.read() as connection:
            found = await connection.execute(query.where(mine, INTENT.c.started >= begun))
            return found.first() is not None

    async def complete(self, mirror: Mirror) -> str:
        """One run more, which nobody kills; answers the type of its last state."""
        run = await self.start(mirror)
        async with asyncio.timeout(150):
            while (state := await self.state(run)) not in OVER:  # noqa: ASYNC110  the server is asked
                await asyncio.sleep(0.3)
        return state


def _process_of(run: str) -> psutil.Process | None:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(RUN_ID) == run:
                return process
    return None


async def play_house(folder: Path, seed: str, kills: int, context: ForkServerContext) -> Ended:
    """Play a universe whose mirrors are flow runs: start the house, kill, and see that the next runs take up."""
    ended = Ended("make run", Tally(), Found())
    async with running(folder) as house:
        url = f"sqlite:///{house.folder}/lockstep.db"
        async with universe(url, folder / "universe") as world:
            await asyncio.to_thread(house.start)
            database = await Store(url=SecretStr(url)).open()
            runs = Runs(house, world, database, Random(f"{seed} runs"), ended.tally)
            await runs.save_blocks()
            with working(context, world, seed):
                async with crowd(world, f"{seed} house", gentle=True) as crowds:
                    shares = ((world.mirrors["a"], kills // 2), (world.mirrors["b"], kills - kills // 2))
                    async with asyncio.TaskGroup() as group:
                        for mirror, share in shares:
                            group.create_task(runs.kill_some(mirror, share))
            states = [await runs.complete(mirror) for mirror in world.mirrors.values()]
            if states != ["COMPLETED", "COMPLETED"]:
                ended.tally.errors.append(f"the runs after the last kill ended as {states}")
            await database.close()
            await asyncio.to_thread(house.ctrl_c)
            await finish(world, crowds, seed, ended)
    return ended


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """A house in this folder; whatever it leaves is ended."""
    await asyncio.to_thread(folder.mkdir)
    house = Running(folder, ROOT / "prefect.yaml")
    try:
        yield house
    finally:
        if house.process and house.process.poll() is None:
            await asyncio.to_thread(house.ctrl_c)
        for process in house.processes():
            process.kill()


@contextmanager
def working(context: ForkServerContext, world: Universe, seed: str) -> Iterator[None]:
    """People of the store, in a process of their own, until the block ends."""
    life = Life(world.url, world.folder / "people.trace", f"{seed}h", book=world.folder / "book")
    process = context.Process(target=live, args=(life,), daemon=True)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError("the people of the store are gone: see people.error")
    finally:
        process.kill()
        process.join()
        process.close()
