"""Where a link that a person makes begins: bases that one side has left, so that its values travel to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from blocks.fieldmap import Field
from blocks.model import Fields, Value

Start = Literal["store", "system", "newest"]
"""Whose values stand where both sides differ."""


@dataclass(frozen=True, slots=True)
class Before:
    """Both sides as they are when they are linked: our names and values, theirs, and when each was last changed.

    `changed` tells when a field of ours was last edited, `created` when the incident was opened. `updated` is the
    record's time, corrected by its clock's skew; a system tells no field's own.
    """

    store: Fields
    seen: Fields
    changed: Mapping[str, str]
    created: datetime
    updated: datetime


@dataclass(slots=True)
class Begin:
    """A new link's bases. A side has left its base in each field that is to travel from there."""

    base_store: dict[str, Value] = field(default_factory=dict)
    base_system: dict[str, Value] = field(default_factory=dict)
    inward: list[str] = field(default_factory=list)
    outward: list[str] = field(default_factory=list)


def begin(start: Start, before: Before, rows: Iterable[Field], names: Iterable[str], coarse: timedelta) -> Begin:
    """The bases of a new link, and the fields that differ and travel in and out.

    Args:
        start: whose values stand.
        before: both sides.
        rows: the connector's own map.
        names: all names of ours that the mirror may map; those that no row stands for are left by both sides under
            `newest`, so that the mirror's own rule for them decides.
        coarse: the resolution of the coarser clock.
    """
    result = Begin()
    for name in names:
        result.base_store[name] = apart(before.store.get(name)) if start != "system" else before.store.get(name)
    for key, value in before.seen.items():
        result.base_system[key] = apart(value) if start != "store" else value
    for row in (row for row in rows if row.theirs in before.seen):
        ours, theirs = before.store.get(row.ours), before.seen[row.theirs]
        inward = start == "system" or (start == "newest" and _system_is_newer(row, before, coarse))
        result.base_store[row.ours] = ours if inward else apart(ours)
        result.base_system[row.theirs] = apart(theirs) if inward else theirs
        if not row.same(ours, theirs):
            (result.inward if inward else result.outward).append(row.ours)
    return result


def apart(value: Value) -> Value:
    """A base that a side with this value has certainly left."""
    return "" if value is None else None


def _system_is_newer(row: Field, before: Before, coarse: timedelta) -> bool:
    """A value goes before none, as a record's time tells nothing of a field that nobody filled. Else the later one."""
    ours, theirs = (value in (None, "", []) for value in (before.store.get(row.ours), before.seen[row.theirs]))
    if ours != theirs:
        return ours
    edited = before.changed.get(row.ours)
    at = datetime.fromisoformat(edited) if edited else before.created
    return before.updated - at > coarse
