"""Which way one field travels: a truth table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from blocks.model import Capabilities
from blocks.rules import Direction, Policy


class Outcome(Enum):
    """What becomes of a field."""

    KEEP = "keep"  # nothing to do, or the difference may not travel
    AGREE = "agree"  # both sides mean the same: the bases move, nothing is written
    TO_STORE = "to store"
    TO_SYSTEM = "to system"
    CONFLICT = "conflict"  # a person decides
    UNMAPPED = "unmapped"  # a value that is in no table: the field is left alone


@dataclass(frozen=True, slots=True)
class View:
    """One field of a link. `left`: that side differs from its base. `same`: both sides mean the same.

    `readable`: their value is in our table; `writable`: ours is in theirs. The times tell when each side last changed
    the field (the system's corrected by its clock's skew), None when that is not known.
    """

    store_left: bool
    system_left: bool
    same: bool
    readable: bool = True
    writable: bool = True
    store_at: datetime | None = None
    system_at: datetime | None = None


def decide(view: View, direction: Direction, policy: Policy, coarse: timedelta) -> Outcome:
    """Decide one field; `coarse` is the resolution of the coarser clock."""
    if not view.store_left and not view.system_left:
        return Outcome.KEEP
    if view.same:
        return Outcome.AGREE
    wanted = _wanted(view, direction, policy, coarse)
    if wanted is Outcome.KEEP:
        return wanted
    if (view.system_left and not view.readable) or (wanted is Outcome.TO_SYSTEM and not view.writable):
        return Outcome.UNMAPPED
    return wanted


def _wanted(view: View, direction: Direction, policy: Policy, coarse: timedelta) -> Outcome:
    inward = Outcome.TO_STORE if direction in {"in", "both"} else Outcome.KEEP
    outward = Outcome.TO_SYSTEM if direction in {"out", "both"} else Outcome.KEEP
    if not view.store_left:
        return inward
    if not view.system_left:
        return outward
    # Both left. One open direction decides by itself, whatever the policy.
    if direction != "both":
        return inward if outward is Outcome.KEEP else outward
    newest = inward if _system_is_newer(view, coarse) else outward
    return {"store": outward, "system": inward, "ask": Outcome.CONFLICT, "newest": newest}[policy]


def _system_is_newer(view: View, coarse: timedelta) -> bool:
    """Closer than the coarser clock, or not known: the store's stands."""
    if view.system_at is None:
        return False
    return view.store_at is None or view.system_at - view.store_at > coarse


def combined(mirror: Direction, field: Direction, able: Capabilities, *, writable: bool = True) -> Direction:
    """The direction that mirror, field and vendor all allow."""
    ways = _ways(mirror) & _ways(field)
    if able.read_only or not writable:
        ways -= {"out"}
    return "both" if len(ways) == len(_ways("both")) else "in" if "in" in ways else "out" if "out" in ways else "off"


def _ways(direction: Direction) -> frozenset[str]:
    return frozenset({"both": ("in", "out"), "off": ()}.get(direction, (direction,)))
