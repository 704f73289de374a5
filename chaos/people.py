"""The people: some work in the trackers, some in the store. What they write is numbered, so that it can be counted."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chaos.tracker import COLOURS, USERS

STATUSES = ("unread", "deferred", "chatting", "need-eg", "in-progress", "testing")
PRIORITIES = ("critical", "urgent", "bug", "feature", "wish")
ODD = 0.02
MOST = 30
"""So many incidents each side opens."""


@dataclass(slots=True)
class Deed:
    """One thing that must be everywhere in the end: a comment or a file of an incident, or an incident."""

    side: str
    kind: str
    words: str
    where: str = ""
    done: bool = False


@dataclass(slots=True)
class InTracker:
    """The people of one tracker, who work until they are told to stop."""

    name: str
    tell: Callable[..., Awaitable[dict[str, Any]]]
    look: Callable[[], Awaitable[dict[str, Any]]]
    dice: Random
    deeds: list[Deed] = field(default_factory=list)
    count: int = 0
    issues: int = 0

    async def work(self, pause: float = 0.4) -> None:
        """Do one thing after the other."""
        while True:
            await self.act()
            await asyncio.sleep(self.dice.uniform(0, pause))

    async def act(self) -> None:
        """Do one thing, to an incident that is there."""
        seen = await self.look()
        if not seen["there"] or (self.issues < MOST and self.dice.random() < 0.08):
            await self._open()
        elif seen["deleted"] and self.dice.random() < 0.12:
            await self._do("restore", id=str(self.dice.choice(seen["deleted"])))
        else:
            await self._change(str(self.dice.choice(seen["there"])))

    async def restore(self) -> None:
        """Bring back whatever is deleted."""
        for id in (await self.look())["deleted"]:
            await self._do("restore", id=str(id))

    async def _open(self) -> None:
        self.issues += 1
        deed = self._deed("incident", f"incident {self._next()}")
        sent = {"title": deed.words, "priority": self.dice.choice(PRIORITIES)}
        done = await self._do("create", sent=sent)
        deed.where, deed.done = str(done.get("id", "")), bool(done)

    async def _change(self, id: str) -> None:
        dice = self.dice
        match dice.choices(KINDS, WEIGHTS)[0]:
            case "title":
                await self._do("edit", id=id, sent={"title": f"incident {self._next()}"})
            case "field":
                await self._do("edit", id=id, sent=self._field())
            case "comment":
                # NUL is no text that both databases keep: such a comment is parked.
                odd = "\0" if dice.random() < ODD else ""
                deed = self._deed("comment", f"{self._next()}{odd}", id)
                deed.done = bool(await self._do("message", id=id, text=deed.words))
            case "file":
                deed = self._deed("file", self._next(), id)
                data = base64.b64encode(f"the bytes of {deed.words}".encode()).decode()
                deed.done = bool(await self._do("file", id=id, name=deed.words, data=data))
            case "close":
                await self._do(dice.choice(("close", "reopen")), id=id)
            case _:
                await self._do("retire", id=id)

    def _field(self) -> dict[str, Any]:
        colours = self.dice.sample(COLOURS, self.dice.randint(0, len(COLOURS)))
        values: dict[str, Any] = {
            "status": self.dice.choice(STATUSES),
            "priority": self.dice.choice(PRIORITIES),
            "assignedto": self.dice.choice((*USERS, "")),
            "keyword": colours,
        }
        # The owner more often: its conflicts are for people.
        name = self.dice.choice([*values, "assignedto", "assignedto"])
        return {name: values[name]}

    def _next(self) -> str:
        self.count += 1
        return f"{self.name}{self.count}"

    def _deed(self, kind: str, words: str, where: str = "") -> Deed:
        self.deeds.append(Deed(self.name, kind, words, where))
        return self.deeds[-1]

    async def _do(self, what: str, **sent: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        return await self.tell("people", do=what, **sent)


KINDS = ("title", "field", "comment", "file", "close", "retire")
WEIGHTS = (5, 5, 4, 3, 1, 0.7)
