"""A bench for the engine: one store, any number of toy worlds with a mirror each, one clock, and people."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from pydantic import PrivateAttr
from sqlalchemy import event, select

from blocks import points
from blocks.model import Cursor, Entry, Fields, Incident, Page, Value
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.incidents import Actor, add_comment, add_file, create, edit, entries_of, get, history
from blocks.store.tables import Audit, Link, Parked, Table, table_of
from blocks.store.tables import Entry as EntryRow
from blocks.store.tables import Incident as IncidentRow
from tasks.mirroring.cycle import cycle
from tasks.mirroring.findings import Findings
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.people import Side, resolve
from tasks.mirroring.reconcile import reconcile
from tests.fakes.toy import Toy, World

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BOB = Actor("bob")
WRITES = frozenset({"create", "update", "add_entry"})

T = TypeVar("T")


class Killed(BaseException):
    """The process died here: nobody catches this."""


@dataclass(slots=True)
class Clock:
    """A clock that goes on by a millisecond each time somebody looks, and by more when it is told to."""

    at: datetime = START

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


Meanwhile = Callable[[str], Awaitable[None]]


async def _quiet(_call: str) -> None:
    return None


class LiveToy(Toy):
    """A toy beside which people work: `meanwhile` is awaited before and after each call."""

    _block_type_name = "Live Toy"
    _meanwhile: Meanwhile = PrivateAttr(default_factory=lambda: _quiet)

    @classmethod
    def beside(cls, world: World, address: str, meanwhile: Meanwhile) -> Self:
        """A connector to this world, with people beside it."""
        toy = cls.of(world, address)
        toy._meanwhile = meanwhile
        return toy

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        await self._meanwhile("before changes")
        async for page in super().changes(since, size):
            await self._meanwhile("after changes")
            yield page

    async def everything(self, size: int) -> AsyncIterator[Page]:
        await self._meanwhile("before everything")
        async for page in super().everything(size):
            await self._meanwhile("after everything")
            yield page

    async def get(self, id: str) -> Incident:
        return await self._beside("get", super().get(id))

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        return await self._beside("entries", super().entries(incidents, known))

    async def create(self, fields: Fields, key: str) -> Incident:
        return await self._beside("create", super().create(fields, key))

    async def find(self, key: str) -> Incident | None:
        return await self._beside("find", super().find(key))

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        return await self._beside("update", super().update(incident, patch))

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        return await self._beside("add_entry", super().add_entry(incident, entry, key))

    async def _beside(self, call: str, work: Awaitable[T]) -> T:
        try:
            await self._meanwhile(f"before {call}")
        except BaseException:
            work.close()  # type: ignore[attr-defined]  # a coroutine, never awaited
            raise
        result = await work
        await self._meanwhile(f"after {call}")
        return result


@dataclass(slots=True)
class Setup:
    """One mirror of a bench: its world and what a person set in its form."""

    world: World
    rules: Rules = field(default_factory=Rules)
    intake: Intake = field(default_factory=Intake)
    limits: Limits = field(default_factory=Limits)
    toy: type[LiveToy] = LiveToy


@dataclass(slots=True)
class Bench:
    """One store, its clock, and mirrors by name. People of the store are all called bob."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    mirrors: dict[str, Setup] = field(default_factory=dict)
    meanwhile: Meanwhile = _quiet

    def mirror(self, name: str = "a", /, *, world: World | None = None, **setup: Any) -> World:
        """Add a mirror to a new world; answers the world."""
        made = world or World()
        made.now = self.clock
        self.mirrors[name] = Setup(made, **setup)
        return made

    def change(self, name: str = "a", /, **setup: Any) -> None:
        """A person changes a mirror's form."""
        for key, value in setup.items():
            setattr(self.mirrors[name], key, value)

    async def open(self, name: str = "a") -> Mirroring:
        """Open a mirror as a new process does."""
        one = self.mirrors[name]
        toy = one.toy.beside(one.world, name, self._beside)
        return await Mirroring.open(
            self.database, toy, name, rules=one.rules, intake=one.intake, limits=one.limits, run="run", now=self.clock
        )

    async def cycle(
        self, name: str = "a", *, dry: bool = False, only: Sequence[int] | None = None, after: float = 5
    ) -> Mirroring:
        """Let some seconds pass, then run one cycle in a new process; `calls` of the world are this cycle's."""
        self.clock.go(after)
        self.mirrors[name].world.calls.clear()
        mirror = await self.open(name)
        await cycle(mirror, dry=dry, only=only)
        return mirror

    async def reconcile(self, name: str = "a", *, dry: bool = False, after: float = 5) -> tuple[Mirroring, Findings]:
        """The same for a reconcile; answers what it found, too."""
        self.clock.go(after)
        self.mirrors[name].world.calls.clear()
        mirror = await self.open(name)
        return mirror, await reconcile(mirror, dry=dry)

    async def settled(self, *names: str, rounds: int = 3) -> None:
        """Run cycles until nobody has anything left to say."""
        for _ in range(rounds):
            for name in names or tuple(self.mirrors):
                world = self.mirrors[name].world
                await self.cycle(name, after=world.settle + world.lag + world.tick + 1)

    async def _beside(self, call: str) -> None:
        await self.meanwhile(call)

    async def edit(self, incident: int, **fields: Value) -> None:
        """Bob edits an incident of the store."""
        await edit(self.database, incident, fields, BOB, self.clock())

    async def create(self, **fields: Value) -> int:
        """Bob opens an incident in the store."""
        return await create(self.database, {"severity": "low", **fields}, BOB, self.clock())

    async def comment(self, incident: int, words: str, **more: Any) -> int:
        """Bob comments."""
        return await add_comment(self.database, incident, words, BOB, self.clock(), **more)

    async def attach(self, incident: int, name: str, data: bytes, **more: Any) -> int:
        """Bob attaches a file."""
        return await add_file(
            self.database, incident, name, "application/octet-stream", data, BOB, self.clock(), **more
        )

    async def incident(self, number: int) -> IncidentRow:
        """An incident of the store."""
        return await get(self.database, number)

    async def entries(self, number: int) -> list[EntryRow]:
        """The entries of an incident of the store."""
        return await entries_of(self.database, number)

    async def history(self, number: int) -> list[Audit]:
        """The audit of an incident of the store."""
        return await history(self.database, number)

    async def rows(self, table: type[Table]) -> list[dict[str, Any]]:
        """All rows of a table, in the order of its key."""
        one = table_of(table)
        async with self.database.read() as connection:
            found = await connection.execute(select(one).order_by(*one.primary_key.columns))
            return [dict(row) for row in found.mappings()]

    async def pick(self, incident: int, name: str, side: Side, mirror: str = "") -> None:
        """Bob picks a side for a conflict."""
        await resolve(self.database, incident, name, side, mirror, BOB, self.clock())

    async def link(self, incident: int, system_id: int = 1) -> dict[str, Any]:
        """An incident's link with a system."""
        return next(r for r in await self.rows(Link) if (r["incident_id"], r["system_id"]) == (incident, system_id))

    async def parked(self) -> list[dict[str, Any]]:
        """What is parked still."""
        return [row for row in await self.rows(Parked) if row["state"] == "open"]


@dataclass(slots=True)
class Death:
    """Kills at the `where`th point that is reached, or at the first of this name, and then at every point after it."""

    where: int | str | None
    reached: list[str] = field(default_factory=list)
    dead: bool = False
    spared: set[asyncio.Task[None]] = field(default_factory=set)

    def __call__(self, point: str) -> None:
        if self.spared and _task() in self.spared:
            return
        self.reached.append(point)
        if self.dead or self.where in {point, len(self.reached) - 1}:
            self.dead = True
            raise Killed(point)

    async def during(self, work: Awaitable[Any]) -> bool:
        """Do the work under this threat; answers whether it was killed."""
        others = asyncio.all_tasks()
        points.watch(self)
        try:
            await work
        except Killed:
            # What a dead process had begun does not go on.
            left = asyncio.all_tasks() - others
            for task in left - self.spared:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            return True
        finally:
            points.watch(None)
        return False

    async def spare(self, work: Coroutine[Any, Any, None]) -> None:
        """A person's work: no point counts in it, and it goes on when the process dies."""
        task = asyncio.get_running_loop().create_task(work)
        self.spared.add(task)
        await asyncio.shield(task)


def _task() -> asyncio.Task[Any] | None:
    """The task that reaches a point; None in the store's own thread, where no person's work is done."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def careless(database: Database) -> Database:
    """A store that does not wait for the disk: no test here pulls the plug of the machine."""
    if database.file is not None:
        for engine in (database.engine.sync_engine, database.file.engine):
            event.listen(engine, "connect", _careless)
    database.id = "0123abcd"
    return database


def _careless(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()


def copy_of(template: Path, folder: Path, name: str) -> str:
    """The address of a fresh SQLite store."""
    path = folder / f"{name}.db"
    shutil.copy(template, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
async def bench(database: Database) -> Bench:
    """A store of its own, without any mirror yet."""
    return Bench(database)


__all__ = ["BOB", "START", "WRITES", "Bench", "Clock", "Death", "Killed", "LiveToy", "Setup", "bench"]
