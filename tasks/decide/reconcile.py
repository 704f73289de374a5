"""What a full read tells: which fields differ, and why, and what the feed should have shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from blocks.fieldmap import Field
from blocks.model import Value
from tasks.decide.field import Outcome
from tasks.decide.merge import NEVER, Sides, Way, drifts, outcome_of

Why = Literal["drift", "closed side", "rules"]
"""drift: neither side left its base, as after a changed map. closed side: only the side left that the direction closes.
rules: it may travel, and did not, as it was decided under other rules."""

TRAVELS = frozenset({Outcome.TO_STORE, Outcome.TO_SYSTEM, Outcome.CONFLICT})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that may travel, and that both sides show differently."""

    why: Why
    row: Field
    store: Value
    system: Value


def differences(sides: Sides, table: tuple[Way, ...], coarse: timedelta) -> Iterator[Difference]:
    """The differences of one link. What is in no map is none, and what is newly mapped begins where both stand."""
    for way in table:
        row = way.row
        known = row.theirs in sides.seen and row.ours in sides.base_store and row.theirs in sides.base_system
        if way.direction == "off" or not known:
            continue
        ours, theirs = sides.store.get(row.ours), sides.seen[row.theirs]
        if row.same(ours, theirs):
            continue
        why = _why(sides, way, coarse)
        if why is not None:
            yield Difference(why, row, ours, theirs)


def _why(sides: Sides, way: Way, coarse: timedelta) -> Why | None:
    row = way.row
    left = (
        sides.store.get(row.ours) != sides.base_store[row.ours]
        or sides.seen[row.theirs] != sides.base_system[row.theirs]
    )
    if not left or drifts(sides, row):
        return "drift" if outcome_of(parted(sides, row), way, coarse) in TRAVELS else None
    outcome = outcome_of(sides, way, coarse)
    return "rules" if outcome in TRAVELS else "closed side" if outcome is Outcome.KEEP else None


def parted(sides: Sides, *rows: Field) -> Sides:
    """The same, if the two had never agreed on these fields."""
    return replace(
        sides,
        base_store={**sides.base_store, **{row.ours: NEVER for row in rows}},
        base_system={**sides.base_system, **{row.theirs: NEVER for row in rows}},
    )


def missed(changed: datetime, read: datetime | None, lag: timedelta) -> bool:
    """Whether the feed, read last at `read`, should have shown a change of this time; it lags so much at most."""
    return read is not None and changed + lag < read
