"""What an answer changes: bases move for what was sent, all else in it becomes `seen`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.model import Fields, Incident, Value
from blocks.store.audit import Act, record
from blocks.store.links import DIRTY, Row, dumps, forget_intents
from blocks.store.tables import EntryLink, Link, PlanLine, table_of
from tasks.mirroring.mirror import Mirroring

PLAN_LINE = table_of(PlanLine)
ENTRY_LINK = table_of(EntryLink)


@dataclass(slots=True)
class Standing:
    """A link's moving columns while answers are recorded, one after the other."""

    link: Row
    seen: dict[str, Value] = field(default_factory=dict)
    version: str = ""
    base_system: dict[str, Value] = field(default_factory=dict)
    base_store: dict[str, Value] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    streak: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, link: Row) -> Standing:
        """As the store has it."""
        seen = dict(link["seen"] or {})
        return cls(
            link,
            seen,
            link["seen_version"] or "",
            dict(seen if link["base_system"] is None else link["base_system"]),
            dict(link["base_store"] or {}),
            dict(link["left_system"] or {}),
            dict(link["streak"] or {}),
        )

    def show(self, m: Mirroring, incident: Incident, *, at: str | None) -> None:
        """The system shows this now. `at`: when what changed there was changed, None if that is not known."""
        if incident.version < self.version:
            return
        for row in m.fields.rows:
            if self.seen.get(row.theirs) != incident.fields.get(row.theirs):
                self.left.pop(row.ours, None)
                if at is not None:
                    self.left[row.ours] = at
        self.seen, self.version = dict(incident.fields), incident.version

    def wrote(self, patch: Fields, ours: Fields) -> None:
        """The system took this patch: for these fields both sides agreed."""
        self.base_system |= patch
        self.base_store |= ours
        for name in ours:
            self.left.pop(name, None)
            self.streak[name] = self.streak.get(name, 0) + 1

    def agree(self, theirs: str, ours: str, store: Fields) -> None:
        """Both sides mean the same in this field, or the store took the system's value."""
        self.base_system[theirs] = self.seen[theirs]
        self.base_store[ours] = store.get(ours)

    def row(self, dirty: int) -> tuple[Any, ...]:
        """The columns of STANDING."""
        return (
            dumps(self.seen), self.version, dumps(self.base_system), dumps(self.base_store),
            dumps(self.left) if self.left else None, dumps(self.streak) if self.streak else None,
            dirty, self.link["id"],
        )  # fmt: skip


STANDING = ("seen", "seen_version", "base_system", "base_store", "left_system", "streak", "dirty")


async def save(m: Mirroring, connection: AsyncConnection, standings: Iterable[Standing], *, dirty: int = DIRTY) -> None:
    """Write the standings back, set-based."""
    await m.database.update(connection, Link, STANDING, [standing.row(dirty) for standing in standings])


async def finish(m: Mirroring, connection: AsyncConnection, intents: Sequence[Row], now: datetime) -> None:
    """These writes are answered: audited, their lines done, their intents gone."""
    if not intents:
        return
    acts = [Act(_action(i), i["incident_id"], _changes(i)) for i in intents]
    await record(m.database, connection, acts, m.actor, now, system_id=m.system_id)
    lines = PLAN_LINE.c
    for plan_id in {i["plan_id"] for i in intents}:
        numbers = [i["n"] for i in intents if i["plan_id"] == plan_id]
        await connection.execute(
            update(PLAN_LINE).where(lines.plan_id == plan_id, lines.n.in_(numbers)).values(state="done", done_at=now)
        )
    await forget_intents(connection, [i["id"] for i in intents])
    for intent in intents:
        m.tally.add(DONE[intent["verb"]], intent["incident_id"])


DONE = {"create": "created in the system", "update": "updated in the system", "entry": "entries out"}


def ours_of(m: Mirroring, intent: Row, applied: Fields) -> Fields:
    """Our values that the applied part of a patch carried."""
    ours: Fields = intent["ours"] or {}
    names = {row.ours for row in m.fields.rows if row.theirs in applied}
    return {name: value for name, value in ours.items() if name in names}


def _action(intent: Row) -> str:
    return {"create": "sent new", "update": "sent", "entry": "sent entry"}[str(intent["verb"])]


def _changes(intent: Row) -> Mapping[str, Sequence[Value]]:
    if intent["verb"] == "entry":
        return {str(intent["kind"]): (None, intent["entry_id"])}
    before: Fields = intent["before"] or {}
    return {key: (before.get(key), value) for key, value in (intent["patch"] or {}).items()}
