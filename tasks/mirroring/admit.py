"""Which strangers of a page become incidents of ours: filter, classifier, pre-processing, on the store's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Refused
from blocks.model import OVER, Incident, Value
from blocks.points import at
from blocks.rules import PreRule
from blocks.store.checks import COLUMNS
from blocks.store.incidents import Edit, NewIncident, insert_relations, new_incident, write_edits
from blocks.store.links import INCIDENT, dumps, rows_by
from tasks.decide.intake import Record, accepts, classify, first_rule, match
from tasks.mirroring.mirror import Mirroring

DUPLICATE = "Duplicate"
"""Close reason of what a rule relates and closes."""

STATE = frozenset({"status", "close_reason", "close_notes", "type"})
"""What a dropped record never changes in the incident that it updates."""


@dataclass(slots=True)
class Admitted:
    """A record that becomes an incident; `relates` to an older one, and is closed at once if a rule says so."""

    incident: Incident
    row: NewIncident
    seen: str
    base_store: str
    relates: int | None = None
    closed: bool = False


@dataclass(slots=True)
class Admission:
    """What becomes of a page's strangers.

    `dropped`: (record, why). `edits`: what dropped ones change in open incidents.
    """

    new: list[Admitted] = field(default_factory=list)
    dropped: list[tuple[Incident, str]] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    parked: list[dict[str, Any]] = field(default_factory=list)

    async def after_insert(self, m: Mirroring, connection: AsyncConnection, ids: Sequence[int], now: datetime) -> None:
        """Relate and close, in the commit that stored them."""
        pairs = [(number, a.relates) for a, number in zip(self.new, ids, strict=True) if a.relates is not None]
        if pairs:
            await insert_relations(m.database, connection, pairs, m.actor, now, system_id=m.system_id)
        over = {"status": "closed", "close_reason": DUPLICATE}
        edits = [Edit(number, over) for a, number in zip(self.new, ids, strict=True) if a.closed]
        if edits:
            # A rule's edit, not the system's: it travels back where the direction allows.
            await write_edits(m.database, connection, edits, m.actor, now)


async def admit(m: Mirroring, strangers: Sequence[Incident]) -> Admission:
    """Decide for each stranger."""
    result = Admission()
    if not m.takes_in or not strangers:
        return result
    passing = [(i, r) for i, r in ((i, read(m, i)) for i in strangers) if accepts(r, m.intake.filter)]
    if m.intake.query and passing:
        found = await at("matching", m.system.matching([i.id for i, _ in passing], m.intake.query))
        passing = [(i, r) for i, r in passing if i.id in found]
    rules = [first_rule(record, m.intake.rules) for _, record in passing]
    candidates = await _candidates(m, passing, rules)
    for (incident, record), rule in zip(passing, rules, strict=True):
        other = match(record, rule, candidates) if rule is not None else None
        _judge(m, result, (incident, record), rule, other)
    return result


def read(m: Mirroring, incident: Incident) -> Record:
    """A record in our words; a value that is in no map leaves its field empty, with one warning."""
    ours, unmapped = m.fields.to_ours(incident.fields)
    for name, value in unmapped:
        m.warn_unmapped(incident.id, name, value)
    return Record(ours, incident.fields)


def _judge(
    m: Mirroring,
    result: Admission,
    stranger: tuple[Incident, Record],
    rule: PreRule | None,
    other: int | None,
) -> None:
    incident, record = stranger
    try:
        row = new_incident(
            record.ours, classify(record, m.intake), incident.created, m.fields.unmapped(incident.fields)
        )
    except Refused as error:
        result.parked.append(_parked(m, incident, error))
        return
    if rule is not None and rule.action == "drop":
        result.dropped.append((incident, "dropped by a rule"))
        return
    if rule is not None and rule.action == "drop and update" and other is not None:
        # What it says of itself, but not its state: the open incident stays open.
        patch = {name: value for name, value in row.fields.items() if name not in STATE}
        result.edits.append(Edit(other, patch, incident.updated - m.system.skew))
        result.dropped.append((incident, f"dropped by a rule, updated incident {other}"))
        return
    relates = other if rule is not None and rule.action in {"relate", "relate and close"} else None
    closed = relates is not None and rule is not None and rule.action == "relate and close"
    base = {r.ours: record.ours.get(r.ours) for r in m.fields.rows if r.theirs in incident.fields}
    closed = closed and row.fields.get("status") not in OVER
    result.new.append(Admitted(incident, row, dumps(incident.fields), dumps(base), relates, closed))


def _parked(m: Mirroring, incident: Incident, error: Refused) -> dict[str, Any]:
    return {
        "system_id": m.system_id,
        "kind": "record",
        "remote_id": incident.id,
        "payload": dict(incident.fields),
        "error": str(error),
        "created": m.now(),
    }


async def _candidates(
    m: Mirroring, passing: Sequence[tuple[Incident, Record]], rules: Sequence[PreRule | None]
) -> list[tuple[int, dict[str, Value]]]:
    """The open incidents that any of these rules may mean: found by the rules' first field, for the whole page."""
    wanted: dict[str, set[Any]] = {}
    for (_, record), rule in zip(passing, rules, strict=True):
        if rule is not None and rule.same and rule.same[0] in COLUMNS:
            value = record.value(rule.same[0])
            wanted.setdefault(rule.same[0], set()).add(tuple(value) if isinstance(value, list) else value)
    found: dict[int, dict[str, Value]] = {}
    async with m.database.read() as connection:
        for name, values in wanted.items():
            query = select(INCIDENT).where(INCIDENT.c.status.not_in(sorted(OVER)))
            keys = [list(value) if isinstance(value, tuple) else value for value in values - {None}]
            for row in await rows_by(connection, query, INCIDENT.c[name], keys):
                found[row["id"]] = {**(row["extra"] or {}), **(row["custom"] or {}), **row}
    return sorted(found.items())
