"""Which strangers of a page become incidents of ours: filter, classifier, pre-processing, on the store's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Text, case, cast, func, or_, select, type_coerce
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

    `dropped`: (record, why). `edits`: what dropped ones change in open incidents. An incident that this very page
    brings has no number yet: -1 stands for the first of `new`, -2 for the second.
    """

    new: list[Admitted] = field(default_factory=list)
    dropped: list[tuple[Incident, str]] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    parked: list[dict[str, Any]] = field(default_factory=list)

    async def after_insert(self, m: Mirroring, connection: AsyncConnection, ids: Sequence[int], now: datetime) -> None:
        """Update, relate and close, in the commit that stored them."""
        if self.edits:
            edits = [replace(one, incident_id=_numbered(one.incident_id, ids)) for one in self.edits]
            await write_edits(m.database, connection, edits, m.actor, now, system_id=m.system_id)
        relating = [(number, a.relates) for a, number in zip(self.new, ids, strict=True) if a.relates is not None]
        pairs = [(number, _numbered(other, ids)) for number, other in relating]
        if pairs:
            await insert_relations(m.database, connection, pairs, m.actor, now, system_id=m.system_id)
        over = {"status": "closed", "close_reason": DUPLICATE}
        edits = [Edit(number, over) for a, number in zip(self.new, ids, strict=True) if a.closed]
        if edits:
            # A rule's edit, not the system's: it travels back where the direction allows.
            await write_edits(m.database, connection, edits, m.actor, now)

    def name(self, number: int) -> str:
        """An incident in words, for people."""
        return f"incident {number}" if number > 0 else f"the one of record {self.new[-1 - number].incident.id}"

    def older(self, record: Record, rule: PreRule, candidates: Sequence[tuple[int, Mapping[str, Value]]]) -> int | None:
        """The open incident that a rule means: one of the store's, else one that this page brings."""
        found = match(record, rule, candidates)
        if found is not None:
            return found
        new = [(place, one) for place, one in enumerate(self.new) if not one.closed]
        opened = [(place, one.row) for place, one in new if one.row.fields.get("status") not in OVER]
        place = match(record, rule, [(place, {**(row.extra or {}), **row.fields}) for place, row in opened])
        return None if place is None else -1 - place


def _numbered(number: int, ids: Sequence[int]) -> int:
    return number if number > 0 else ids[-1 - number]


async def admit(m: Mirroring, strangers: Sequence[Incident]) -> Admission:
    """Decide for each stranger."""
    result = Admission()
    if not m.takes_in or not strangers:
        return result
    passing = [(i, read(m, i)) for i in strangers]
    if m.intake.filter:
        passing = [(i, r) for i, r in passing if accepts(r, m.intake.filter)]
    if m.intake.query and passing:
        found = await at("matching", m.system.matching([i.id for i, _ in passing], m.intake.query))
        passing = [(i, r) for i, r in passing if i.id in found]
    rules = [first_rule(record, m.intake.rules) if m.intake.rules else None for _, record in passing]
    candidates = await _candidates(m, passing, rules)
    for (incident, record), rule in zip(passing, rules, strict=True):
        other = result.older(record, rule, candidates) if rule is not None else None
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
        result.dropped.append((incident, f"dropped by a rule, updated {result.name(other)}"))
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
    wanted: dict[str, set[str]] = {}
    for (_, record), rule in zip(passing, rules, strict=True):
        value = record.value(rule.same[0]) if rule is not None and rule.same else None
        if rule is not None and value not in (None, "", []):
            wanted.setdefault(rule.same[0], set()).add(value if isinstance(value, str) else dumps(value))
    found: dict[int, dict[str, Value]] = {}
    if not wanted:
        return []
    query = select(INCIDENT).where(or_(INCIDENT.c.status.is_(None), INCIDENT.c.status.not_in(sorted(OVER))))
    async with m.database.read() as connection:
        for name, values in wanted.items():
            for row in await rows_by(connection, query, _text_of(m, name), values):
                found[row["id"]] = {**(row["extra"] or {}), **(row["custom"] or {}), **row}
    return sorted(found.items())


def _text_of(m: Mirroring, name: str) -> ColumnElement[str]:
    """A field of an incident as text: a column, a custom field, or a key of the system's that no row stands for."""
    if name in COLUMNS:
        return type_coerce(INCIDENT.c[name], Text)
    kept = INCIDENT.c.custom if any(row.ours == name for row in m.fields.rows) else INCIDENT.c.extra
    as_text = type_coerce(kept, Text)
    if not m.database.sqlite:
        return func.json_extract_path_text(cast(as_text, JSON), name)
    each = func.json_each(as_text).table_valued("key", "value", "type").alias("kept")
    shown = case((each.c.type.in_(("true", "false")), each.c.type), else_=cast(each.c.value, Text))
    return select(shown).select_from(each).where(each.c.key == name).scalar_subquery()
