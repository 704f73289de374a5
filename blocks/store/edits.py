"""Edits of incidents: set-based, audited, and in the same commit as their links' dirty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.model import OVER, Fields, Value
from blocks.store import tables
from blocks.store.among import among
from blocks.store.audit import INCIDENT, LINK, MIRRORED, Act, Actor, as_json, mark_dirty, must_have, record
from blocks.store.checks import COLUMNS, checked
from blocks.store.database import Database

_ALWAYS = ("version", "changed", "custom", "closed", "updated")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one incident. `patch` has our names: columns, and anything else goes into `custom`.

    `at` tells when the change was made on the other side; None: now.
    """

    incident_id: int
    patch: Fields
    at: datetime | None = None


async def write_edits(
    database: Database,
    connection: AsyncConnection,
    edits: Sequence[Edit],
    actor: Actor,
    now: datetime,
    *,
    system_id: int | None = None,
) -> None:
    """Change incidents, within the caller's transaction. Equal values change nothing.

    `system_id` is the system that an edit comes from; None: a person or a rule, which ends a field's streak.
    NotFound names an incident that is not there, Refused a field.
    """
    patches = [(one, checked(one.patch)) for one in edits]
    columns = [name for name in COLUMNS if name == "status" or any(name in patch for _, patch in patches)]
    states = await _current(database, connection, {one.incident_id for one in edits}, columns)
    acts: list[Act] = []
    touched: dict[int, set[str]] = {}
    for one, patch in patches:
        changes = _changes(states[one.incident_id], patch)
        if changes:
            acts.append(Act(_apply(states[one.incident_id], changes, one.at or now), one.incident_id, changes))
            touched.setdefault(one.incident_id, set()).update(changes)
    await _write(database, connection, [states[one] for one in touched], columns, now)
    await record(database, connection, acts, actor, now, system_id=system_id)
    await mark_dirty(connection, touched)
    if system_id is None:
        await _end_streaks(database, connection, touched)


async def _current(
    database: Database, connection: AsyncConnection, ids: set[int], columns: Sequence[str]
) -> dict[int, dict[str, Any]]:
    names = ("id", "version", "changed", "custom", "closed", *columns)
    states: dict[int, dict[str, Any]] = {}
    statement = select(*(INCIDENT.c[name] for name in names)).where(among(INCIDENT.c.id, ids)).order_by(INCIDENT.c.id)
    rows = await connection.execute(statement if database.sqlite else statement.with_for_update())
    states.update((row["id"], dict(row)) for row in rows.mappings())
    must_have(ids, states)
    return states


def _changes(state: Mapping[str, Any], patch: Mapping[str, Value]) -> dict[str, tuple[Value, Value]]:
    custom = state["custom"] or {}
    before = {name: state[name] if name in COLUMNS else custom.get(name) for name in patch}
    return {name: (before[name], value) for name, value in patch.items() if not _same(before[name], value)}


def _same(one: Value, other: Value) -> bool:
    # 1, 1.0 and true are equal to Python, and three values to everybody else.
    return type(one) is type(other) and one == other


def _apply(state: dict[str, Any], changes: Mapping[str, tuple[Value, Value]], at: datetime) -> str:
    was_over = state["status"] in OVER
    custom = dict(state["custom"] or {})
    for name, (_, value) in changes.items():
        if name in COLUMNS:
            state[name] = value
        elif value is None:
            custom.pop(name, None)
        else:
            custom[name] = value
    state["custom"] = custom or None
    state["changed"] = {**(state["changed"] or {}), **dict.fromkeys(changes, at.isoformat())}
    state["version"] += 1
    is_over = state["status"] in OVER
    if is_over == was_over:
        return "edited"
    state["closed"] = at if is_over else None
    return "closed" if is_over else "reopened"


async def _write(
    database: Database,
    connection: AsyncConnection,
    states: Sequence[dict[str, Any]],
    columns: Sequence[str],
    now: datetime,
) -> None:
    names = (*columns, *_ALWAYS)
    rows = [
        (*(stored(database, name, {**state, "updated": now}[name]) for name in names), state["id"]) for state in states
    ]
    await database.update(connection, tables.Incident, names, rows)


async def _end_streaks(database: Database, connection: AsyncConnection, touched: Mapping[int, set[str]]) -> None:
    rows: list[tuple[str | None, int]] = []
    statement = select(LINK.c.id, LINK.c.incident_id, LINK.c.streak).where(
        among(LINK.c.incident_id, touched), LINK.c.state.in_(MIRRORED), LINK.c.streak.is_not(None)
    )
    for link_id, incident_id, streak in await connection.execute(statement.order_by(LINK.c.id)):
        left = {name: count for name, count in streak.items() if name not in touched[incident_id]}
        if left != streak:
            rows.append((as_json(left or None), link_id))
    await database.update(connection, tables.Link, ("streak",), rows)


def stored(database: Database, name: str, value: Any) -> Any:  # noqa: ANN401  whatever a driver takes
    """The value of a column of the incident, as the driver takes it."""
    return as_json(value) if name in {"labels", "custom", "changed"} else database.value(value)
