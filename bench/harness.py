"""What all figures share: the table's row, bounds, turns and medians, stores, and what is started once and kept."""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import SecretStr

from blocks.store import Database, Store

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
"""Each side of a ratio is run so often, in turns; the median counts."""

T = TypeVar("T")


class NotMeasured(Exception):
    """Why a figure could not be measured: what it needs is not here, or the work was not done."""


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
    """One line of the table: values, units and bounds side by side. No bounds: only told. No values: not measured.

    `note` says to people what was measured, or why it was not.
    """

    name: str
    values: Sequence[float]
    units: Sequence[str]
    bounds: Sequence[Bound] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was measured and all its bounds hold."""
        held = zip(self.bounds, self.values, strict=bool(self.bounds))
        return bool(self.values) and all(bound.holds(value) for bound, value in held)

    def row(self) -> dict[str, Any]:
        """As it is written to the results: plain where there is one value, lists of equal length where several."""
        if not self.values:
            return {"name": self.name, "value": None, "unit": None, "bound": None, "ok": False}
        limits: list[Any] = [bound.limit for bound in self.bounds] or [None] * len(self.values)
        columns: dict[str, list[Any]] = {"value": list(self.values), "unit": list(self.units), "bound": limits}
        several = len(self.values) > 1
        return {"name": self.name, **{k: v if several else v[0] for k, v in columns.items()}, "ok": self.ok}


@dataclass(slots=True)
class Workshop:
    """One run of the bench: its folder, a migrated store to copy, and the servers that several figures use."""

    folder: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    made: int = 0
    prepared: Path | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    async def keep(self, name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What was started under this name; it stays until the bench ends."""
        if name not in self.kept:
            self.kept[name] = await self.stack.enter_async_context(make())
        started: T = self.kept[name]
        return started

    async def fresh(self) -> Path:
        """A SQLite store of its own, migrated and empty."""
        if self.prepared is None:
            self.prepared = self.folder / "template.db"
            database = await Store(url=SecretStr(f"sqlite:///{self.prepared}")).open()
            await database.close()
        self.made += 1
        path = self.folder / f"{self.made}.db"
        await asyncio.to_thread(shutil.copy, self.prepared, path)
        return path

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Database]:
        """A fresh store, open."""
        database = await Store(url=SecretStr(f"sqlite:///{await self.fresh()}")).open()
        try:
            yield database
        finally:
            await database.close()


async def in_turns(*sides: Callable[[], Awaitable[float]], runs: int = RUNS) -> list[float]:
    """Measure each side so often, one after the other, so that what else the machine does meets all; the medians."""
    measured: list[list[float]] = [[] for _ in sides]
    for _ in range(runs):
        for side, values in zip(sides, measured, strict=True):
            values.append(await side())
    return [statistics.median(values) for values in measured]


def must_be(what: str, found: float, wanted: float) -> None:
    """NotMeasured where the work was not done: its time would mean nothing."""
    if found != wanted:
        message = f"{what}: {found:g}, and not {wanted:g}"
        raise NotMeasured(message)
