"""One store, two trackers with a mirror each, and how a process opens a mirror."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import asyncpg
import httpx
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from blocks.incidents import Roundup
from blocks.model import Capabilities
from blocks.rules import Intake, Limits, Rule, Rules
from blocks.store import Database
from tasks.mirroring.mirror import Mirroring

ROOT: Final = Path(__file__).resolve().parents[1]
SETTLE, TICK, LAG = 4.0, 2.0, 1.2
"""Seconds. What a search may lag, and how coarse the clock ticks, must fit within what the connector declares."""

PATIENCE: Final = 1.5
"""Seconds that a connector waits for an answer: it gives up while the tracker may have applied the write."""

HERE: Final = "postgresql:///test?host=/var/run/postgresql"
ENDLESS: Final = 1_000_000_000
FREE: Final = Limits(creates=ENDLESS, closes=ENDLESS, updates=ENDLESS, unlinks=ENDLESS, drifts=ENDLESS)
NONE: Final = Limits(creates=0, closes=0, updates=0, unlinks=0, drifts=0)


class Quick(Roundup):
    """The connector, told that searches catch up sooner and the clock ticks coarser, and less patient."""

    _block_type_name = "Roundup of chaos"

    settle_seconds: ClassVar[float] = SETTLE

    @property
    def capabilities(self) -> Capabilities:
        """As declared, but for the clock."""
        return replace(super().capabilities, clock_seconds=TICK)

    async def __aenter__(self) -> Self:
        """Open the client."""
        await super().__aenter__()
        self._tracker.http.timeout = httpx.Timeout(PATIENCE)
        return self


@dataclass(frozen=True, slots=True)
class Mirror:
    """One mirror as a person set it up; frozen and plain, so that it can be handed to another process."""

    name: str
    address: str
    rules: Rules
    intake: Intake

    def system(self) -> Quick:
        """The connector."""
        return Quick(address=self.address, login="admin", password=SecretStr("secret"))

    async def open(
        self, database: Database, system: Roundup, *, limits: Limits = FREE, look_back: int = 0
    ) -> Mirroring:
        """Open it for one cycle."""
        intake = replace(self.intake, look_back_minutes=look_back)
        return await Mirroring.open(database, system, self.name, rules=self.rules, intake=intake, limits=limits)


def mirror_of(name: str, address: str) -> Mirror:
    """Mirror a asks the tracker's own query and leaves the owner to a person; b creates there what the store has."""
    if name == "a":
        rules = Rules(owner=Rule(policy="ask"), labels=Rule(policy="system"))
        return Mirror(name, address, rules, Intake(query="title=incident"))
    return Mirror(name, address, Rules(create=True, severity=Rule(policy="store")), Intake())


@dataclass(slots=True)
class Tracker:
    """A fake Roundup in a process of its own; its controls meet no faults."""

    address: str
    client: httpx.AsyncClient

    async def tell(self, what: str, **sent: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        """Set its knobs, or let its people work; what it refuses them is an empty answer."""
        answer = await self.client.post(f"/_fake/{what}", json=sent)
        if answer.is_client_error:
            return {}
        done: dict[str, Any] = answer.raise_for_status().json()
        return done

    async def see(self, what: str = "state") -> dict[str, Any]:
        """All that it holds, or what its people look at."""
        answer = await self.client.get(f"/_fake/{what}")
        seen: dict[str, Any] = answer.raise_for_status().json()
        return seen


@asynccontextmanager
async def tracker(log: Path) -> AsyncIterator[Tracker]:
    """Start one, and end it. What it complains of goes to this file."""
    command = (sys.executable, "-m", "chaos.tracker")
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=stream, cwd=ROOT
        )
    try:
        line = await process.stdout.readline() if process.stdout else b""
        address = line.decode().strip()
        # A connection that is kept may be closed by the server just when it is used again.
        fresh = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=address.removesuffix("/tracker/"), timeout=60, limits=fresh) as client:
            served = Tracker(address, client)
            await _answers(served)
            yield served
    finally:
        process.terminate()
        await process.wait()


async def _answers(served: Tracker) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await served.see("look")
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            else:
                return


@dataclass(slots=True)
class Universe:
    """A store's address and, by mirror, the tracker and the mirror."""

    url: str
    folder: Path
    trackers: dict[str, Tracker]
    mirrors: dict[str, Mirror] = field(default_factory=dict)


@asynccontextmanager
async def universe(url: str, folder: Path) -> AsyncIterator[Universe]:
    """Two trackers beside this store."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    async with tracker(folder / "a.log") as a, tracker(folder / "b.log") as b:
        trackers = {"a": a, "b": b}
        yield Universe(url, folder, trackers, {name: mirror_of(name, one.address) for name, one in trackers.items()})


@asynccontextmanager
async def postgres() -> AsyncIterator[str | None]:
    """An empty database of its own, dropped at the end; None where no PostgreSQL answers."""
    server = make_url(os.environ.get("LOCKSTEP_TEST_POSTGRES", HERE)).set(drivername="postgresql")
    name = f"lockstep_chaos_{os.getpid()}_{secrets.token_hex(3)}"
    plain = server.render_as_string(hide_password=False)
    try:
        await _statement(plain, f'CREATE DATABASE "{name}"')
    except (OSError, TimeoutError, asyncpg.PostgresError):
        yield None
        return
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        await _statement(plain, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _statement(plain: str, statement: str) -> None:
    connection = await asyncpg.connect(plain, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
