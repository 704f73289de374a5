"""Our field ↔ their key and values, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

from blocks.model import Fields, Value
from blocks.rules import CustomField, ValueMap


class _Unmapped:
    """The value is in no table: the field is left alone."""

    def __repr__(self) -> str:
        return "UNMAPPED"


UNMAPPED: Final = _Unmapped()


@dataclass(frozen=True, slots=True)
class Field:
    """One row: our name, their key, and, where values differ, the tables.

    `to_ours` may send several of theirs to one of ours; `to_theirs` says which one is written for ours. An empty pair
    of tables passes values as they are. `many` marks a set: kept sorted, so that order never counts as a change.
    `open`: what the tables lack passes as it is. `observed`: values of ours that the system takes on by itself: it
    cannot be told them, so they are compared, and never written.
    """

    ours: str
    theirs: str
    to_ours: Mapping[str, str] = field(default_factory=dict)
    to_theirs: Mapping[str, str] = field(default_factory=dict)
    many: bool = False
    writable: Literal["always", "at creation", "never"] = "always"
    open: bool = False
    observed: frozenset[str] = frozenset()

    def our_value(self, theirs: Value) -> Value | _Unmapped:
        """Their value as ours, or UNMAPPED where a table lacks it."""
        if not self.to_ours or theirs is None:
            return theirs
        return self.to_ours.get(str(theirs), theirs if self.open else UNMAPPED)

    def their_value(self, ours: Value) -> Value | _Unmapped:
        """Our value as they write it, or UNMAPPED where a table lacks it."""
        if not self.to_theirs or ours is None:
            return ours
        return self.to_theirs.get(str(ours), ours if self.open else UNMAPPED)

    def settable(self, ours: Value) -> bool:
        """Whether the system can be told this value of ours."""
        return str(ours) not in self.observed and not isinstance(self.their_value(ours), _Unmapped)

    def same(self, ours: Value, theirs: Value) -> bool:
        """Whether both mean the same, read in either direction."""
        return self.our_value(theirs) == ours or self.their_value(ours) == theirs


@dataclass(frozen=True)
class FieldMap:
    """A connector's rows, with what a mirror adds to them."""

    rows: tuple[Field, ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Their keys that a row stands for."""
        return frozenset(row.theirs for row in self.rows)

    def extended(self, values: Iterable[ValueMap], custom: Iterable[CustomField]) -> FieldMap:
        """With a mirror's own values (which go first) and further fields."""
        rows = {row.ours: row for row in self.rows}
        for value in values:
            row = rows.get(value.field)
            if row is not None:
                rows[row.ours] = replace(
                    row,
                    to_ours={**row.to_ours, value.theirs: value.ours},
                    to_theirs={**row.to_theirs, value.ours: value.theirs},
                    open=row.open or not row.to_ours,
                )
        for extra in custom:
            rows[extra.ours] = Field(extra.ours, extra.theirs)
        return FieldMap(tuple(rows.values()))

    def to_ours(self, fields: Fields) -> tuple[dict[str, Value], list[tuple[str, Value]]]:
        """What of a system's fields is ours, and what was in no table, as (our field, their value)."""
        known: dict[str, Value] = {}
        unknown: list[tuple[str, Value]] = []
        for row in self.rows:
            if row.theirs not in fields:
                continue
            value = row.our_value(fields[row.theirs])
            if isinstance(value, _Unmapped):
                unknown.append((row.ours, fields[row.theirs]))
            else:
                known[row.ours] = value
        return known, unknown

    def unmapped(self, fields: Fields) -> dict[str, Value]:
        """What no row stands for."""
        return {key: fields[key] for key in fields.keys() - self.keys if fields[key] not in (None, "", [])}
