"""What one link needs: every field decided, as values to write on either side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast

from blocks.fieldmap import UNMAPPED, Field, FieldMap
from blocks.model import FIELDS, OVER, Capabilities, Fields, Value
from blocks.rules import Direction, Policy, Rule, Rules
from tasks.decide.field import Outcome, View, combined, decide

UNSETTLED = 5
"""So many writes of ours to a field, without a person's edit between, and it does not settle."""

NEVER: Final = {"never": "agreed"}
"""Stands for both bases of a field that was found to differ though neither side had left its base: both have left."""

EMPTY: Final[tuple[Value, ...]] = (None, "", [])


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the map with what its rules and the vendor allow."""

    row: Field
    direction: Direction
    policy: Policy


def ways(fields: FieldMap, rules: Rules, able: Capabilities) -> tuple[Way, ...]:
    """Each field's way. A custom field's own rule goes before the form's."""
    custom = {c.ours: c.rule for c in rules.custom}
    named: dict[str, Rule] = {name: getattr(rules, name) for name in FIELDS}
    return tuple(
        Way(
            row,
            combined(rules.direction, rule.direction, able, writable=row.writable == "always"),
            rule.policy,
        )
        for row in fields.rows
        for rule in (custom.get(row.ours) or named.get(row.ours) or Rule(),)
    )


@dataclass(frozen=True, slots=True)
class Sides:
    """One link as the store knows both sides: our names and values in `store` and `base_store`, theirs in the rest.

    A base may be NEVER. `changed` and `left` tell when each field of ours was last changed here and there. `choices`
    holds what a person picked for a conflict. `blocked` holds values that were refused or rejected: (side, key) →
    values. `streak` counts our writes.
    """

    store: Fields
    base_store: Mapping[str, Any]
    seen: Fields
    base_system: Mapping[str, Any]
    changed: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[tuple[str, str], list[Value]] = field(default_factory=dict)
    streak: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Merge:
    """What a link needs. `patch` and `before` hold the system's keys, `ours` our values that the patch carries.

    `drifted`: our names of what is written though the two never agreed on it.
    """

    patch: dict[str, Value] = field(default_factory=dict)
    before: dict[str, Value] = field(default_factory=dict)
    ours: dict[str, Value] = field(default_factory=dict)
    to_store: dict[str, Value] = field(default_factory=dict)
    agreed: list[Field] = field(default_factory=list)
    conflicts: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    unmapped: list[tuple[str, Value]] = field(default_factory=list)
    blocked: list[tuple[str, str]] = field(default_factory=list)
    unsettled: dict[str, Value] = field(default_factory=dict)
    drifted: set[str] = field(default_factory=set)

    @property
    def waits(self) -> bool:
        """Whether something of it waits for a person."""
        return bool(self.conflicts or self.blocked or self.unsettled)


def merge(sides: Sides, table: tuple[Way, ...], coarse: timedelta) -> Merge:
    """Decide all fields of a link."""
    merged = Merge()
    for way in table:
        _field(merged, sides, way, coarse)
    return merged


def _field(merged: Merge, sides: Sides, way: Way, coarse: timedelta) -> None:
    row = way.row
    if row.theirs not in sides.seen:
        return
    if row.ours not in sides.base_store or row.theirs not in sides.base_system:
        # Newly mapped: where both stand now is where they agree, so that a changed map writes nothing.
        merged.agreed.append(row)
        return
    outcome = outcome_of(sides, way, coarse)
    if outcome is Outcome.KEEP:
        return
    ours, theirs = sides.store.get(row.ours), sides.seen[row.theirs]
    to_ours, to_theirs = row.our_value(theirs), row.their_value(ours)
    match outcome:
        case Outcome.AGREE:
            merged.agreed.append(row)
        case Outcome.CONFLICT:
            merged.conflicts[row.ours] = (ours, theirs)
        case Outcome.UNMAPPED:
            merged.unmapped.append((row.ours, theirs if to_ours is UNMAPPED else ours))
        case Outcome.TO_STORE:
            _to_store(merged, sides, row, cast("Value", to_ours))
        case Outcome.TO_SYSTEM:
            _to_system(merged, sides, row, cast("Value", to_theirs))


def outcome_of(sides: Sides, way: Way, coarse: timedelta) -> Outcome:
    """What becomes of one field that both sides have, and that has its bases."""
    row = way.row
    ours, theirs = sides.store.get(row.ours), sides.seen[row.theirs]
    if ours == sides.base_store[row.ours] and theirs == sides.base_system[row.theirs]:
        return Outcome.KEEP
    to_ours, to_theirs = row.our_value(theirs), row.their_value(ours)
    view = View(
        store_left=ours != sides.base_store[row.ours],
        system_left=theirs != sides.base_system[row.theirs],
        same=to_ours == ours or to_theirs == theirs,
        readable=to_ours is not UNMAPPED,
        writable=row.settable(ours),
        store_at=_time(sides.changed.get(row.ours)),
        system_at=_time(sides.left.get(row.ours)),
    )
    policy = _chosen(sides.choices.get(row.ours), way.policy)
    if policy == "newest" and drifts(sides, row) and not (view.store_at or view.system_at):
        policy = _fuller(ours, theirs)
    return decide(view, way.direction, policy, coarse)


def drifts(sides: Sides, row: Field) -> bool:
    """Whether the two never agreed on this field."""
    return bool(sides.base_store.get(row.ours) == NEVER)


def _fuller(ours: Value, theirs: Value) -> Policy:
    """Nobody is known to have emptied it: what is empty takes the other's value. Else the store's stands."""
    return "system" if ours in EMPTY and theirs not in EMPTY else "store"


def _to_store(merged: Merge, sides: Sides, row: Field, value: Value) -> None:
    if value in sides.blocked.get(("store", row.ours), []):
        merged.blocked.append(("store", row.ours))
    else:
        merged.to_store[row.ours] = value
        merged.drifted |= {row.ours} if drifts(sides, row) else set()


def _to_system(merged: Merge, sides: Sides, row: Field, value: Value) -> None:
    ours = sides.store.get(row.ours)
    if value in sides.blocked.get(("system", row.theirs), []):
        merged.blocked.append(("system", row.theirs))
    elif sides.streak.get(row.ours, 0) >= UNSETTLED:
        merged.unsettled[row.ours] = ours
    else:
        merged.patch[row.theirs] = value
        merged.before[row.theirs] = sides.seen[row.theirs]
        merged.ours[row.ours] = ours
        merged.drifted |= {row.ours} if drifts(sides, row) else set()


def _chosen(choice: str | None, policy: Policy) -> Policy:
    return "store" if choice == "store" else "system" if choice == "system" else policy


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def creation(store: Fields, table: tuple[Way, ...]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The fields of a new incident in the system: (their keys and values, our values that they carry)."""
    fields: dict[str, Value] = {}
    ours: dict[str, Value] = {}
    for way in table:
        value = store.get(way.row.ours)
        may = way.direction in {"out", "both"} or way.row.writable == "at creation"
        theirs = way.row.their_value(value)
        if may and way.row.writable != "never" and value not in EMPTY and theirs is not UNMAPPED:
            fields[way.row.theirs] = theirs  # type: ignore[assignment]  # checked in the line above
            ours[way.row.ours] = value
    return fields, ours


def closes(table: tuple[Way, ...], before: Fields, patch: Fields, *, theirs: bool) -> bool:
    """Whether this patch closes the incident, on the side whose keys it holds."""
    row = next((way.row for way in table if way.row.ours == "status"), None)
    key = (row.theirs if theirs else "status") if row else "status"
    if key not in patch:
        return False
    read = row.our_value if row and theirs else lambda value: value
    return read(patch[key]) in OVER and read(before.get(key)) not in OVER
