"""What all figures share: the table's row, bounds, medians, stores and the server that is read."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import SecretStr

from blocks.incidents import Roundup
from blocks.store import Database, Store

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
"""Each side of a ratio is run so often, in turns; the median counts."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value must keep to."""

    how: Literal["≤", "≥", "="]
    limit: float

    def holds(self, value: float) -> bool:
        """Whether it does."""
        return {"≤": value <= self.limit, "≥": value >= self.limit, "=": value == self.limit}[self.how]

    def __str__(self) -> str:
        return f"{self.how} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Values, units and bounds go together, one of each or several; no bounds: told only."""

    name: str
    values: Sequence[float]
    units: Sequence[str]
    bounds: Sequence[Bound] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether all bounds hold."""
        return all(bound.holds(value) for bound, value in zip(self.bounds, self.values, strict=bool(self.bounds)))

    def row(self) -> dict[str, Any]:
        """As it is written to the results: plain where there is one value, lists where there are several."""
        limits: list[float | None] = [bound.limit for bound in self.bounds] or [None] * len(self.values)
        columns: dict[str, list[Any]] = {"value": list(self.values), "unit": list(self.units), "bound": limits}
        several = len(self.values) > 1
        return {"name": self.name, **{k: v if several else v[0] for k, v in columns.items()}, "ok": self.ok}


@dataclass(slots=True)
class Workshop:
    """One run of the bench: its folder, and a migrated store to copy."""

    folder: Path
    made: int = 0
    prepared: Path | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    async def template(self) -> Path:
        """A migrated, empty SQLite store."""
        if self.prepared is None:
            path = self.folder / "template.db"
            database = await Store(url=SecretStr(f"sqlite:///{path}")).open()
            await database.close()
            self.prepared = path
        return self.prepared

    async def copy(self, of: Path | None = None) -> Path:
        """A fresh SQLite file: empty and migrated, or as this one was."""
        self.made += 1
        path = self.folder / f"{self.made}.db"
        shutil.copy(of or await self.template(), path)
        return path

    @asynccontextmanager
    async def store(self, path: Path | None = None) -> AsyncIterator[Database]:
        """The store of this file, opened; a fresh one unless told otherwise."""
        database = await Store(url=SecretStr(f"sqlite:///{path or await self.copy()}")).open()
        try:
            yield database
        finally:
            await database.close()


async def in_turns(*sides: Callable[[], Awaitable[float]], runs: int = RUNS) -> list[list[float]]:
    """Measure each side so often, one after the other, so that what else the machine does meets all of them."""
    measured: list[list[float]] = [[] for _ in sides]
    for _ in range(runs):
        for side, values in zip(sides, measured, strict=True):
            values.append(await side())
    return measured


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


@dataclass(slots=True)
class Tracker:
    """A fake Roundup in a process of its own."""

    address: str
    client: httpx.AsyncClient

    def system(self) -> Roundup:
        """The connector to it."""
        return Roundup(address=self.address, login="admin", password=SecretStr("secret"))

    async def tell(self, what: str, **sent: Any) -> Any:  # noqa: ANN401  any JSON
        """Set its knobs, or let its people work."""
        answer = await self.client.post(f"/_fake/{what}", json=sent)
        return answer.raise_for_status().json()

    async def state(self) -> dict[str, Any]:
        """All that it holds, and the calls that were counted since `reset`."""
        answer = await self.client.get("/_fake/state")
        state: dict[str, Any] = answer.raise_for_status().json()
        return state


@asynccontextmanager
async def tracker(issues: int, messages: int = 0) -> AsyncIterator[Tracker]:
    """A tracker with so many issues, one a second until now, each with so many messages."""
    command = ("-m", "tests.fakes.roundup", "--issues", str(issues), "--messages", str(messages))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout  # noqa: S101  it is a pipe
        address = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=address.removesuffix("/tracker/"), timeout=60) as client:
            served = Tracker(address, client)
            await _answers(served)
            yield served
    finally:
        process.terminate()
        await process.wait()


async def _answers(served: Tracker) -> None:
    """Wait until it does: its address is told a moment before it listens."""
    async with asyncio.timeout(30):
        while True:
            try:
                await served.tell("faults")
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
            else:
                return
