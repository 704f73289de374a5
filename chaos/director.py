"""Starts processes and kills them: at chosen points, between an intent and its answer, and at random moments."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random
from typing import Final

from chaos.points import IN_FLIGHT, MIRRORS_POINTS, PEOPLES_POINTS, TABLE
from chaos.universe import Mirror, Universe
from chaos.worker import KILLED, Life, live

LONGEST: Final = {"table": 12.0, "flight": 6.0}
"""Seconds after which a process that did not come by its point is killed wherever it is."""

EVERY: Final = 25
"""Kills between two lines that say how far it is."""

FEW: Final = 12
"""When no more points than this are missing, they are met on the way to other ends."""

RARE: Final = ("expire", "decision", "missing", "back", "asked")
GRAVE: Final = ("after create", "after add_entry")
"""What is sent again by mistake is there twice."""

SENT: Final = frozenset(f"before {call}" for call in ("create", "update", "add_entry"))


def warm(worker: str = "chaos.worker") -> ForkServerContext:
    """A process that has imported everything and opened nothing, from which workers are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker, "asyncpg", "aiosqlite", "sqlalchemy.dialects.sqlite.aiosqlite"])
    return context


@dataclass(slots=True)
class Tally:
    """What was killed. `hit`: the points at which a process died, `by`: how each came to its end."""

    kills: int = 0
    in_flight: int = 0
    random: int = 0
    hit: set[str] = field(default_factory=set)
    by: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Tally, where: str) -> None:
        """Take in another universe's."""
        self.kills += other.kills
        self.in_flight += other.in_flight
        self.random += other.random
        self.hit |= other.hit
        self.by += Counter({f"{where}: {how}": n for how, n in other.by.items()})
        self.errors += other.errors

    def died(self, how: str, reached: Sequence[str]) -> None:
        """One process more."""
        self.kills += 1
        self.by[how] += 1
        if reached[-1:] == [KILLED]:
            self.hit.add(reached[-2])
        self.in_flight += is_in_flight([point for point in reached if point != KILLED])


def is_in_flight(reached: Sequence[str]) -> bool:
    """Whether a write was about to be sent, or sent, and its answer not recorded, after these points."""
    sent = False
    for point in reached:
        if point in {"after commit intents", "after commit answers"}:
            sent = False
        sent |= point in SENT
    return sent


@dataclass(frozen=True, slots=True)
class Quota:
    """What a run must reach. `table`: each point of the table."""

    random: int
    in_flight: int
    table: bool = False

    @classmethod
    def half(cls, kills: int, *, table: bool = False) -> Quota:
        """Half at random moments, half in flight, rounded up."""
        return cls(-(-kills // 2), -(-kills // 2), table)


@dataclass(slots=True)
class Director:
    """Lives, one after the other, in each of its slots, until the quota is reached."""

    world: Universe
    quota: Quota
    dice: Random
    tally: Tally
    context: ForkServerContext
    lives: int = 0
    told: int = 0

    async def run(self, limit: float) -> None:
        """Kill until it is enough, or for so many seconds."""
        slots = [self._mirrors("a"), self._mirrors("b"), self._twins(), self._people()]
        tasks = [asyncio.create_task(one) for one in slots]
        try:
            async with asyncio.timeout(limit):
                while not self._enough() and not self.tally.errors:
                    done = [one for one in tasks if one.done()]
                    for one in done:
                        one.result()
                    await asyncio.sleep(0.1)
                    self._tell()
        except TimeoutError:
            print(f"  after {limit:.0f} s it is not enough", flush=True)
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self) -> None:
        if self.tally.kills >= self.told + EVERY:
            self.told = self.tally.kills
            missing = sorted(self._missing(TABLE))
            left = f"; left: {', '.join(missing)}" if self.quota.table and 0 < len(missing) <= FEW else ""
            points = len(self.tally.hit)
            print(f"  {self.told} kills, {self.tally.in_flight} in flight, at {points} points{left}", flush=True)

    def _enough(self) -> bool:
        table = not self.quota.table or not self._missing(TABLE)
        return table and self.tally.random >= self.quota.random and self.tally.in_flight >= self.quota.in_flight

    def _missing(self, points: frozenset[str]) -> set[str]:
        return set(points - self.tally.hit)

    async def _mirrors(self, name: str) -> None:
        while True:
            await self._life(self.world.mirrors[name], self._how())

    async def _twins(self) -> None:
        """A second worker on one of the mirrors, for a part of the time."""
        while True:
            await asyncio.sleep(self.dice.uniform(0, 3))
            for _ in range(self.dice.randint(1, 5)):
                await self._life(self.world.mirrors[self.dice.choice("ab")], self._how())

    async def _people(self) -> None:
        while True:
            if self.quota.table and self._missing(PEOPLES_POINTS):
                await self._life(None, "table")
            else:
                await self._life(None, "random", self.dice.uniform(3, 12))

    def _how(self) -> str:
        few = len(self._missing(MIRRORS_POINTS)) <= FEW
        if self.quota.table and not few:
            return "table"
        short = {"random": self.quota.random - self.tally.random, "flight": self.quota.in_flight - self.tally.in_flight}
        wanted = [how for how, n in short.items() if n > 0]
        return self.dice.choices(wanted, [short[how] for how in wanted])[0] if wanted else "table"

    async def _life(self, mirror: Mirror | None, how: str, longest: float = 0.0) -> None:
        self.lives += 1
        number = self.lives
        trace = self.world.folder / f"{number}.trace"
        process = self.context.Process(target=live, args=(self._plan(mirror, how, trace, number),), daemon=True)
        process.start()
        try:
            await _ended(process, longest or LONGEST.get(how, 0.0) or self.dice.uniform(0.05, 1.6))
        finally:
            own = process.exitcode is not None
            process.kill()
            process.join()
            self._note(mirror, process, trace, "its own hand" if own else "random")
            process.close()

    def _note(self, mirror: Mirror | None, process: ForkServerProcess, trace: Path, how: str) -> None:
        error = trace.with_suffix(".error")
        if error.exists() or process.exitcode != -signal.SIGKILL:
            words = error.read_text(encoding="utf-8") if error.exists() else f"it ended with {process.exitcode}"
            self.tally.errors.append(words)
            return
        reached = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
        who = "people" if mirror is None else "a mirror"
        self.tally.died(f"{who}, by {how}", reached)
        self.tally.random += how == "random" and mirror is not None

    def _plan(self, mirror: Mirror | None, how: str, trace: Path, number: int) -> Life:
        missing = self._missing(TABLE)
        wanted: dict[str, int] = {}
        if how == "flight":
            points = {*self.dice.sample(IN_FLIGHT, 2), self.dice.choice(GRAVE)}
            wanted = {point: self.dice.randint(0, 2) for point in sorted(points)}
        if how != "random" and self.quota.table:
            wanted |= dict.fromkeys(missing, 0)
        rare = self.quota.table and any(point.endswith(RARE) for point in missing)
        return Life(
            url=self.world.url,
            trace=trace,
            seed=f"{self.dice.randrange(10**9)}x{number}",
            mirror=mirror,
            book=self.world.folder / "book",
            wanted=wanted,
            held=mirror is not None and self.dice.random() < (0.3 if rare else 0.03),
            only=0.5 if rare else 0.1,
            some=25 if rare else 8,
        )


async def _ended(process: ForkServerProcess, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while process.is_alive() and loop.time() < end:  # noqa: ASYNC110  another process sets no event here
        await asyncio.sleep(min(0.01, max(0.0, end - loop.time())))
