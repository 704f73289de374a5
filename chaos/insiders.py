"""The people of the store, in a process that may die: a deed is written down before it is done, and after."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from blocks.errors import NotFound, Refused
from blocks.model import SEVERITIES
from blocks.store import Database
from blocks.store.audit import Actor
from blocks.store.entries import add_comment, add_file
from blocks.store.incidents import create, edit, relate
from blocks.store.links import CONFLICT, INCIDENT, MIRROR, PARKED, rows_of
from chaos.people import KINDS, MOST, WEIGHTS, Deed
from chaos.tracker import COLOURS, USERS
from tasks.mirroring.approval import Decision, decide
from tasks.mirroring.people import Side, replay, resolve
from tasks.mirroring.plan import PLAN

SIDES: tuple[Side, ...] = ("store", "system")
DECISIONS: tuple[Decision, ...] = ("approve", "approve", "reject")


@dataclass(slots=True)
class InStore:
    """They work on `database`, and write down in `book`; all that they write begins with `name`."""

    database: Database
    book: Path
    name: str
    dice: Random
    count: int = 0
    who: Actor = field(default_factory=lambda: Actor("bob"))

    async def work(self, pause: float = 0.3) -> None:
        """Do one thing after the other."""
        while True:
            await self.act()
            await asyncio.sleep(self.dice.uniform(0, pause))

    async def act(self) -> None:
        """Do one thing."""
        async with self.database.read() as connection:
            ids = list((await connection.execute(select(INCIDENT.c.id))).scalars())
        if not ids or (len(ids) < 3 * MOST and self.dice.random() < 0.1):
            await self._open()
        elif self.dice.random() < 0.2:
            await self.tidy()
        else:
            await self._change(self.dice.choice(ids), ids)

    async def tidy(self, *, all_of_it: bool = False) -> None:
        """Decide what waits for a person."""
        waiting = [*await self._conflicts(), *await self._parked()]
        if all_of_it or self.dice.random() < 0.3:
            waiting += await self._plans()
        for one in waiting if all_of_it else self.dice.sample(waiting, min(1, len(waiting))):
            with suppress(NotFound, Refused):  # somebody else was there first
                await one()

    async def _conflicts(self) -> list[Callable[[], Awaitable[Any]]]:
        query = select(CONFLICT, MIRROR.c.name).join(MIRROR, MIRROR.c.system_id == CONFLICT.c.system_id)
        async with self.database.read() as connection:
            rows = await rows_of(connection, query.where(CONFLICT.c.choice == ""))

        def picked(row: Any) -> Callable[[], Awaitable[Any]]:  # noqa: ANN401  a row
            side: Side = self.dice.choice(SIDES)
            return lambda: resolve(self.database, row["incident_id"], row["field"], side, row["name"], self.who, now())

        return [picked(row) for row in rows]

    async def _parked(self) -> list[Callable[[], Awaitable[Any]]]:
        async with self.database.read() as connection:
            ids = [row["id"] for row in await rows_of(connection, select(PARKED.c.id).where(PARKED.c.state == "open"))]
        return [lambda: replay(self.database, ids, "", self.who, now())] if ids else []

    async def _plans(self) -> list[Callable[[], Awaitable[Any]]]:
        async with self.database.read() as connection:
            rows = await rows_of(connection, select(PLAN.c.id).where(PLAN.c.state == "held"))
        how: Decision = self.dice.choice(DECISIONS)
        return [partial(decide, self.database, row["id"], how, self.who, "chaos", now()) for row in rows[:1]]

    async def _open(self) -> None:
        words = f"incident {self._next()}"
        fields = {"title": words, "severity": self.dice.choice(SEVERITIES), "description": f"told by {words}"}
        await self._noted(Deed("store", "incident", words), create(self.database, fields, self.who, now()))

    async def _change(self, id: int, ids: list[int]) -> None:
        match self.dice.choices(KINDS, WEIGHTS)[0]:
            case "title":
                await edit(self.database, id, {"title": f"incident {self._next()}"}, self.who, now())
            case "field":
                await edit(self.database, id, self._field(), self.who, now())
            case "comment":
                words = self._next()
                await self._noted(
                    Deed("store", "comment", words, str(id)), add_comment(self.database, id, words, self.who, now())
                )
            case "file":
                words, kind = self._next(), "text/plain"
                data = f"the bytes of {words}".encode()
                work = add_file(self.database, id, words, kind, data, self.who, now())
                await self._noted(Deed("store", "file", words, str(id)), work)
            case "close":
                over = {"status": "closed", "close_reason": "Fixed", "close_notes": self._next()}
                again = {"status": "active", "close_reason": None, "close_notes": None}
                await edit(self.database, id, self.dice.choice((over, again)), self.who, now())
            case _:
                other = self.dice.choice(ids)
                if other != id:
                    await relate(self.database, id, other, self.who, now())

    def _field(self) -> dict[str, Any]:
        colours = sorted(self.dice.sample(COLOURS, self.dice.randint(0, len(COLOURS))))
        values: dict[str, Any] = {
            "status": self.dice.choice(("new", "active", "waiting", "resolved")),
            "severity": self.dice.choice(SEVERITIES),
            "owner": self.dice.choice((*USERS, None)),
            "labels": colours,
        }
        # The owner more often: its conflicts are for people.
        name = self.dice.choice([*values, "owner", "owner"])
        return {name: values[name]}

    def _next(self) -> str:
        self.count += 1
        return f"{self.name}n{self.count}"

    async def _noted(self, deed: Deed, work: Awaitable[Any]) -> None:
        self._note(deed)
        await work
        deed.done = True
        self._note(deed)

    def _note(self, deed: Deed) -> None:
        handle = os.open(self.book, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, json.dumps(asdict(deed)).encode() + b"\n")
        os.close(handle)


def noted(book: Path) -> list[Deed]:
    """What the people of the store wrote down, each deed as it was last."""
    lines = book.read_text(encoding="utf-8").splitlines() if book.exists() else []
    deeds = [Deed(**json.loads(line)) for line in lines]
    return list({deed.words: deed for deed in deeds}.values())


def now() -> datetime:
    """The time, aware, UTC."""
    return datetime.now(UTC)
