"""An analyst's edit of one incident: fields, labels, custom fields and an entry, in one commit with its audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.model import OVER, Fields, Value
from blocks.store import Database
from blocks.store.audit import INCIDENT, MIRRORED, Actor, lock
from blocks.store.checks import COLUMNS, checked, refused
from blocks.store.edits import Edit, write_edits
from blocks.store.entries import NewEntry, insert_entries
from blocks.store.links import LINK, MIRROR
from blocks.store.tables import Incident

CLOSING: Final = ("close_reason", "close_notes")


@dataclass(frozen=True, slots=True)
class Change:
    """What a person wants of an incident. `fields`: our names and new values; what is empty stays as it is.

    `clear` names fields to be emptied. `custom` holds texts as a person types them: they are read as the kind of value
    that the field has now, and an empty one removes the field.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    clear: tuple[str, ...] = ()
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    custom: Mapping[str, str] = field(default_factory=dict)
    entry: str = ""
    entry_kind: Literal["comment", "note"] = "comment"
    entry_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What an edit did: the fields that changed, the entry's kind if there is a new one, and who sends it on."""

    fields: tuple[str, ...]
    entry: str
    mirrors: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{', '.join(self.fields)} changed"] if self.fields else []
        parts += [f"a {self.entry} added"] if self.entry else []
        if not parts:
            return "it is so already, nothing was changed"
        sent = f"; sent by the next cycle of {', '.join(self.mirrors)}" if self.mirrors else ""
        return f"{' and '.join(parts)}{sent}"


async def edit_by_hand(database: Database, incident_id: int, change: Change, actor: Actor, now: datetime) -> Done:
    """Do it, in one commit; equal values change nothing.

    Raises:
        NotFound: there is no such incident.
        Refused: a value that is not ours, or a closing without its reason; nothing was changed.
    """
    async with database.begin("edit") as connection:
        await lock(database, connection, [incident_id])
        row = (await connection.execute(select(INCIDENT).where(INCIDENT.c.id == incident_id))).mappings().one()
        patch = wanted(Incident(**row), change)
        if patch:
            await write_edits(database, connection, [Edit(incident_id, patch)], actor, now)
        if change.entry.strip():
            entry = NewEntry(incident_id, change.entry_kind, now, actor.name, change.entry, tags=change.entry_tags)
            await insert_entries(database, connection, [entry], actor, now)
        elif change.entry_tags:
            raise refused("entry_tags", "belong to an entry: write one, or leave them empty")
        kind = change.entry_kind if change.entry.strip() else ""
        mirrors = await _mirrors(connection, incident_id) if patch or kind else ()
    return Done(tuple(patch), kind, mirrors)


async def _mirrors(connection: AsyncConnection, incident_id: int) -> tuple[str, ...]:
    query = select(MIRROR.c.name).join(LINK, LINK.c.system_id == MIRROR.c.system_id)
    mine = (LINK.c.incident_id == incident_id, LINK.c.state.in_(MIRRORED))
    return tuple((await connection.execute(query.where(*mine).order_by(MIRROR.c.name))).scalars())


def wanted(now: Incident, change: Change) -> dict[str, Value]:
    """What differs from how the incident is now, as our names and values. Refused says which wish makes no sense."""
    fields = {name: value.strip() for name, value in change.fields.items() if value.strip()}
    for name in fields.keys() & set(change.clear):
        raise refused(name, "is given a value and emptied: do one of both")
    patch: dict[str, Value] = {**fields, **dict.fromkeys(change.clear)}
    patch |= _labels(now, change) | _custom(now, change) | _closing(now, patch)
    return {name: value for name, value in checked(patch).items() if not _same(value, _before(now, name))}


def _before(now: Incident, name: str) -> Value:
    value: Value = getattr(now, name) if name in COLUMNS else (now.custom or {}).get(name)
    return value


def _same(one: Value, other: Value) -> bool:
    # 0 and false are values; no labels are kept as null or as an empty list.
    return (type(one) is type(other) and one == other) or (_is_empty(one) and _is_empty(other))


def _is_empty(value: Value) -> bool:
    return value is None or value in ("", [])


def _labels(now: Incident, change: Change) -> dict[str, Value]:
    add, remove = ({label.strip() for label in some} - {""} for some in (change.add_labels, change.remove_labels))
    for both in sorted(add & remove):
        raise refused("labels", f"'{both}' is added and removed: do one of both")
    return {"labels": sorted(({*(now.labels or [])} | add) - remove)} if add or remove else {}


def _closing(now: Incident, patch: Fields) -> dict[str, Value]:
    """A closing carries its own reason and notes, never those of an earlier one; what is open has none."""
    was_over, over = now.status in OVER, patch.get("status", now.status) in OVER
    given = [name for name in CLOSING if patch.get(name)]
    if given and not over:
        raise refused(given[0], "belongs to a closed incident: set status to resolved or closed as well")
    if over and not was_over:
        if not patch.get("close_reason"):
            raise refused("close_reason", "must say why, when an incident is resolved or closed")
        return {name: patch.get(name) for name in CLOSING}
    return dict.fromkeys(CLOSING) if was_over and not over else {}


def _custom(now: Incident, change: Change) -> dict[str, Value]:
    for name in change.custom:
        if name in COLUMNS:
            raise refused(name, "is no further field: it has its own place in the form, or cannot be edited")
    kept = now.custom or {}
    return {name: typed(name, kept.get(name), text) for name, text in change.custom.items()}


def typed(name: str, now: Value, text: str) -> Value:
    """A text as the kind of value that a field has now; None where it is empty. Refused: it cannot be read so."""
    if not text.strip():
        return None
    try:
        return _READ.get(type(now), str)(text)
    except (KeyError, ValueError):
        raise refused(name, f"holds {_CALLED[type(now)]}, and '{text[:40]}' is none") from None


_READ: Final[Mapping[type, Callable[[str], Value]]] = {
    bool: lambda text: {"true": True, "yes": True, "false": False, "no": False}[text.strip().lower()],
    int: int,
    float: float,
    list: lambda text: sorted({part.strip() for part in text.split(",") if part.strip()}),
}
_CALLED: Final[Mapping[type, str]] = {bool: "true or false", int: "a whole number", float: "a number"}
