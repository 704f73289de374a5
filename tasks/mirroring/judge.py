"""Judge links: what each needs now, decided on the store's current rows, inside the transaction that acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Refused
from blocks.model import OVER, Fields, Value
from blocks.store.among import among
from blocks.store.checks import checked
from blocks.store.links import CLEAN, CONFLICT, DIRTY, PARKED, WAITING, Row, Work, mark, park, work
from tasks.decide.intake import Record, accepts
from tasks.decide.merge import Merge, Sides, closes, creation, merge
from tasks.mirroring.answers import Standing, save
from tasks.mirroring.mirror import Mirroring


@dataclass(frozen=True, slots=True)
class Line:
    """One write. `kind` is what the brake counts; `patch` holds the keys of the side that it goes to."""

    link_id: int
    incident_id: int
    verb: str
    kind: str
    patch: Fields = field(default_factory=dict)
    before: Fields = field(default_factory=dict)
    ours: Fields = field(default_factory=dict)
    entry_id: int | None = None

    def fits(self, other: Line) -> bool:
        """Whether it is the same write."""
        mine = (self.link_id, self.verb, self.entry_id, self.patch)
        return mine == (other.link_id, other.verb, other.entry_id, other.patch)


@dataclass(slots=True)
class Verdict:
    """What one link needs: `lines` to write, `level` to be dirty at, and what is parked for a person."""

    work: Work
    merge: Merge = field(default_factory=Merge)
    lines: list[Line] = field(default_factory=list)
    parked: list[dict[str, Any]] = field(default_factory=list)
    level: int = CLEAN

    @property
    def link_id(self) -> int:
        """The link's id."""
        return int(self.work.link["id"])


async def judge(m: Mirroring, connection: AsyncConnection, link_ids: Sequence[int]) -> list[Verdict]:
    """Judge these links; bases that agree move, conflicts and parked are listed, each link's level is set."""
    now = m.now()
    verdicts = [verdict(m, one) for one in await work(m.database, connection, link_ids, lock=True)]
    agreed = [_agreed(v) for v in verdicts if v.merge.agreed]
    await save(m, connection, agreed)
    await _list_conflicts(m, connection, verdicts, now)
    parked = [{**row, "created": now} for v in verdicts for row in v.parked]
    await park(m.database, connection, parked)
    m.tally.counts["parked"] += len(parked)
    await _drop_obsolete(connection, verdicts)
    for level in (CLEAN, DIRTY, WAITING):
        await mark(connection, [v.link_id for v in verdicts if v.level == level], dirty=level)
    gone = set(link_ids) - {v.link_id for v in verdicts}
    await mark(connection, sorted(gone), dirty=CLEAN)
    return verdicts


def verdict(m: Mirroring, one: Work) -> Verdict:
    """Decide one link."""
    result = Verdict(one)
    if one.link["state"] == "linked" and one.link["missing_since"] is not None:
        _missing(m, result)
    elif one.intents:
        # Its last write is not answered yet: nothing else until it is settled.
        result.level = DIRTY
    elif one.link["state"] == "offered":
        _offered(m, result)
    elif one.link["state"] == "linked":
        _linked(m, result)
    if result.lines:
        result.level = DIRTY
    return result


def _offered(m: Mirroring, result: Verdict) -> None:
    one = result.work
    record = Record(one.store, one.incident["extra"] or {})
    if not m.rules.create or one.incident["status"] in OVER or not accepts(record, m.intake.filter):
        return
    fields, ours = creation(one.store, m.table)
    if any((p["payload"] or {}).get("patch") == fields for p in one.parked if p["kind"] in {"create", "rejected"}):
        result.level = WAITING
        return
    result.lines.append(_line(one, "create", "create", patch=fields, before={}, ours=ours))


def _missing(m: Mirroring, result: Verdict) -> None:
    """Gone only by a second look in a later cycle, and never while another read of the system fails."""
    one = result.work
    if result.link_id not in m.confirmed_gone or m.reads_failed:
        result.level = DIRTY
        return
    closing = m.rules.gone == "close" and one.incident["status"] not in OVER
    kind = "close" if closing else "unlink" if m.rules.gone == "unlink" else "gone"
    patch: Fields = {"status": "closed", "close_reason": "Gone"} if closing else {}
    result.lines.append(_line(one, "gone", kind, patch=patch, before={"status": one.incident["status"]}))


def _linked(m: Mirroring, result: Verdict) -> None:
    one = result.work
    merged = result.merge = merge(sides(m, one), m.table, m.coarse)
    for name, value in merged.unmapped:
        m.warn_unmapped(one.link["remote_id"], name, value)
    _to_store(m, result)
    _to_system(m, result)
    for name, value in merged.unsettled.items():
        if not any(p["kind"] == "unsettled" and p["payload"].get("field") == name for p in one.parked):
            error = f"{name} does not settle: sent again and again, and the system changes it each time"
            result.parked.append(_parked(m, one, "unsettled", {"field": name, "value": value}, error))
    waits = _entries(m, result)
    result.level = WAITING if merged.waits or result.parked or waits else CLEAN


def _to_store(m: Mirroring, result: Verdict) -> None:
    one, patch = result.work, result.merge.to_store
    if not patch:
        return
    good: dict[str, Value] = {}
    for name, value in patch.items():
        try:
            good |= checked({name: value})
        except Refused as error:
            result.parked.append(_parked(m, one, "update", {"side": "store", "patch": {name: value}}, str(error)))
    before = {name: one.store.get(name) for name in good}
    if good:
        other = "drift" if result.merge.drifted & set(good) else "store"
        kind = "close" if closes(m.table, before, good, theirs=False) else other
        result.lines.append(_line(one, "store", kind, patch=good, before=before))


def _to_system(m: Mirroring, result: Verdict) -> None:
    one, merged = result.work, result.merge
    if not m.able.reopen and closes(m.table, merged.patch, merged.before, theirs=True):
        key = m.theirs("status")
        error = "it was reopened here, and this system cannot reopen through its API: reopen it there"
        payload = {"side": "system", "patch": {key: merged.patch.pop(key)}}
        merged.ours.pop("status")
        result.parked.append(_parked(m, one, "update", payload, error))
    if not merged.patch:
        return
    other = "drift" if merged.drifted & set(merged.ours) else "update"
    kind = "close" if closes(m.table, merged.before, merged.patch, theirs=True) else other
    result.lines.append(_line(one, "update", kind, patch=merged.patch, before=merged.before, ours=merged.ours))


def _entries(m: Mirroring, result: Verdict) -> bool:
    """Add the entries that are owed; answers whether one waits for a person."""
    one = result.work
    kinds, waits = m.kinds(incoming=False), False
    parked = {p["entry_id"] for p in one.parked if p["entry_id"] is not None}
    for entry in one.owed:
        if not _travels(m, entry, kinds):
            continue
        if entry["id"] in parked:
            waits = True
        else:
            line = Line(
                result.link_id, one.incident["id"], "entry", "entry", {"kind": entry["kind"]}, entry_id=entry["id"]
            )
            result.lines.append(line)
    return waits


def _travels(m: Mirroring, entry: Row, kinds: frozenset[str]) -> bool:
    tags = (m.rules.files if entry["kind"] == "file" else m.rules.comments).tags
    tagged = not tags or not set(tags).isdisjoint(entry["tags"] or [])
    complete = entry["kind"] != "file" or entry["blob"] is not None
    return entry["kind"] in kinds and tagged and complete and entry["system_id"] != m.system_id


def sides(m: Mirroring, one: Work) -> Sides:
    """Both sides of a link, with what a person picked and what was refused."""
    link, incident = one.link, one.incident
    seen: Fields = link["seen"] or {}
    store = one.store
    # A pick holds for the values that the person saw, not for later ones.
    choices = {
        c["field"]: c["choice"]
        for c in one.conflicts
        if c["choice"]
        and (c["store_value"], c["system_value"]) == (store.get(c["field"]), seen.get(m.theirs(c["field"])))
    }
    blocked: dict[tuple[str, str], list[Value]] = {}
    for row in one.parked:
        payload: Mapping[str, Any] = row["payload"] or {}
        for name, value in (payload.get("patch") or {}).items():
            blocked.setdefault((payload.get("side", "system"), name), []).append(value)
    return Sides(
        store=store,
        base_store=link["base_store"] or {},
        seen=seen,
        base_system=seen if link["base_system"] is None else link["base_system"],
        changed=incident["changed"] or {},
        left=link["left_system"] or {},
        choices=choices,
        blocked=blocked,
        streak=link["streak"] or {},
    )


def _line(one: Work, verb: str, kind: str, *, patch: Fields, before: Fields, ours: Fields | None = None) -> Line:
    return Line(one.link["id"], one.incident["id"], verb, kind, patch, before, ours or {})


def _parked(m: Mirroring, one: Work, kind: str, payload: Mapping[str, Any], error: str) -> dict[str, Any]:
    return {
        "system_id": m.system_id,
        "kind": kind,
        "remote_id": one.link["remote_id"] or "",
        "link_id": one.link["id"],
        "incident_id": one.incident["id"],
        "payload": payload,
        "error": f"{m.system.fingerprint()} [{one.link['remote_id'] or 'new'}]: {error}",
    }


def _agreed(one: Verdict) -> Standing:
    standing = Standing.of(one.work.link)
    for row in one.merge.agreed:
        standing.agree(row.theirs, row.ours, one.work.store)
        standing.left.pop(row.ours, None)
        standing.streak.pop(row.ours, None)
    return standing


async def _list_conflicts(
    m: Mirroring, connection: AsyncConnection, verdicts: Sequence[Verdict], now: datetime
) -> None:
    """Conflicts that a person has not picked yet, or whose values changed since, are listed; settled ones go."""
    over: list[tuple[int, str]] = []
    new: list[dict[str, Any]] = []
    for one in verdicts:
        listed = {c["field"]: c for c in one.work.conflicts}
        moving = set(one.merge.ours) | set(one.merge.to_store) | set(one.merge.conflicts)
        over += [(one.link_id, name) for name in listed if name not in moving]
        for name, (ours, theirs) in one.merge.conflicts.items():
            before = listed.get(name)
            if before is not None and (before["store_value"], before["system_value"]) == (ours, theirs):
                continue
            over.append((one.link_id, name))
            since = before["since"] if before else now
            values = {"store_value": ours, "system_value": theirs, "since": since, "choice": "", "chosen_by": ""}
            new.append({"link_id": one.link_id, "field": name, "system_id": m.system_id,
                        "incident_id": one.work.incident["id"], **values})  # fmt: skip
    for link_id, name in over:
        await connection.execute(delete(CONFLICT).where(CONFLICT.c.link_id == link_id, CONFLICT.c.field == name))
    if new:
        await connection.execute(insert(CONFLICT), new)
        m.tally.add("conflicts", *(row["incident_id"] for row in new))


async def _drop_obsolete(connection: AsyncConnection, verdicts: Sequence[Verdict]) -> None:
    """What is parked and no longer wanted as it was: the value changed, the entry or the link went another way."""
    ids = [row["id"] for one in verdicts if not one.work.intents for row in one.work.parked if _obsolete(one, row)]
    if ids:
        await connection.execute(update(PARKED).where(among(PARKED.c.id, ids)).values(state="dropped"))


def _obsolete(one: Verdict, row: Row) -> bool:
    payload: Mapping[str, Any] = row["payload"] or {}
    if one.work.link["missing_since"] is not None or row["kind"] in {"record", "content"}:
        return False
    if row["entry_id"] is not None:
        return row["entry_id"] not in {entry["id"] for entry in one.work.owed}
    if row["kind"] == "unsettled":
        return payload.get("field") not in one.merge.unsettled
    if one.work.link["state"] == "offered":
        return one.level != WAITING
    side = payload.get("side", "system")
    return not any((side, name) in one.merge.blocked for name in payload.get("patch") or {})
