"""What must hold once people and faults have stopped, judged from store and worlds, never from the engine's log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from blocks.fieldmap import UNMAPPED
from blocks.model import OVER, Value
from blocks.store import tables
from tasks.decide.intake import Record as Seen
from tasks.decide.intake import accepts
from tasks.mirroring.mirror import Mirroring
from tests.fakes.toy import MAP, ME, Record
from tests.mirrors import WRITES, Bench

UNIQUE = ("title", "owner", "close_notes")
"""Fields that people of the machine never give the same value twice."""

TABLES = (
    tables.Incident, tables.Link, tables.Entry, tables.EntryLink, tables.Intent, tables.Parked, tables.Conflict,
    tables.Plan, tables.PlanLine, tables.Audit,
)  # fmt: skip
BY_RULE = {"closed side", "unlinked"}
"""What a reconcile may find at rest."""

DECIDED = {"edited", "closed", "reopened"}


def canonical(value: Value) -> str:
    """A unique value as every world shows it, however it computes."""
    return str(value).casefold()


@dataclass(slots=True)
class Ledger:
    """What people did in the worlds: edits as (field, what the person saw, what they wrote). `doubtful`: written by
    the engine, its answer lost. `computing`: a world rounds what it is sent."""

    edits: list[tuple[str, str, str]] = field(default_factory=list)
    computing: bool = False
    doubtful: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Facts:
    """The store's rows, read once."""

    incidents: dict[int, dict[str, Any]]
    links: list[dict[str, Any]]
    parked: list[dict[str, Any]]
    conflicts: set[tuple[int, str]]
    entries: dict[int, list[dict[str, Any]]]
    audit: list[dict[str, Any]]

    @classmethod
    async def read(cls, bench: Bench) -> Facts:
        """Everything that is judged."""
        entries: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in await bench.rows(tables.Entry):
            entries[row["incident_id"]].append(row)
        return cls(
            {row["id"]: row for row in await bench.rows(tables.Incident)},
            await bench.rows(tables.Link),
            [row for row in await bench.rows(tables.Parked) if row["state"] == "open"],
            {(row["link_id"], row["field"]) for row in await bench.rows(tables.Conflict)},
            entries,
            await bench.rows(tables.Audit),
        )

    def listed(self, link: dict[str, Any], name: str, key: str) -> bool:
        """Whether a difference in this field waits for a person."""
        if (link["id"], name) in self.conflicts:
            return True
        for row in self.parked:
            payload = row["payload"] or {}
            mine = row["link_id"] == link["id"]
            if mine and (payload.get("field") == name or {name, key} & set(payload.get("patch") or {})):
                return True
        return False


async def snapshot(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """The whole store, but for what tells when a system was read."""
    return {str(one.__tablename__): await bench.rows(one) for one in TABLES}


async def judge(bench: Bench, ledger: Ledger) -> None:
    """All that must hold."""
    facts = await Facts.read(bench)
    assert not await bench.rows(tables.Intent), "an intent is left"
    mirrors = {name: await bench.open(name) for name in bench.mirrors}
    for name, mirror in mirrors.items():
        links = [row for row in facts.links if row["system_id"] == mirror.system_id]
        assert not [row for row in links if row["dirty"] == 1], "a link is dirty still"
        _pairs(bench, facts, mirror, name, links)
        for link in links:
            record = bench.mirrors[name].world.records.get(link["remote_id"] or "")
            if link["state"] == "linked" and record is not None and not record.retired and link["incident_id"]:
                _fields(facts, mirror, link, record)
                _entries_there(facts, mirror, link, record)
    _entries_here(bench, facts, mirrors)
    _audit(facts, ledger)
    _nothing_lost(bench, facts, mirrors, ledger)


async def mended(bench: Bench) -> bool:
    """What nobody could know without reading everything: records that are gone, or there again. Nothing else.

    Answers whether there was any.
    """
    found = [await _finds(bench, name, BY_RULE | {"gone", "missed"}, dry=False) for name in bench.mirrors]
    return any(kinds - BY_RULE for kinds in found)


async def nothing_to_mend(bench: Bench) -> None:
    """A reconcile finds only what is listed by rule, sends nothing, and changes nothing."""
    before = await snapshot(bench)
    for name, one in bench.mirrors.items():
        for dry in (True, False):
            await _finds(bench, name, BY_RULE, dry=dry)
            assert not WRITES & set(one.world.calls), f"a reconcile of {name} calls {one.world.calls}"
    assert await snapshot(bench) == before, "a reconcile with nothing to mend changes the store"


async def _finds(bench: Bench, name: str, allowed: set[str], *, dry: bool) -> set[str]:
    world = bench.mirrors[name].world
    _, findings = await bench.reconcile(name, dry=dry, after=world.lag + world.tick)
    wrong = {kind: found for kind, found in findings.listed.items() if kind not in allowed}
    assert not wrong, f"a reconcile of {name} finds {wrong}"
    return set(findings.counts)


def _pairs(bench: Bench, facts: Facts, mirror: Mirroring, name: str, links: list[dict[str, Any]]) -> None:
    """One incident for one record, and nothing is left out that should be linked."""
    setup = bench.mirrors[name]
    remote = Counter(row["remote_id"] for row in links if row["remote_id"])
    local = Counter(row["incident_id"] for row in links if row["incident_id"])
    assert max(remote.values(), default=0) <= 1, "twins in the store"
    assert max(local.values(), default=0) <= 1, "two records for one incident"
    keys = Counter(record.key for record in setup.world.records.values() if record.key)
    assert max(keys.values(), default=0) <= 1, "twins in the system"
    for number, record in setup.world.records.items():
        if number in remote or record.retired or not mirror.takes_in:
            continue
        ours, _ = mirror.fields.to_ours(record.states[-1][1])
        assert not accepts(Seen(ours, record.states[-1][1]), setup.intake.filter), f"{name} {number} was left out"
    for row in facts.incidents.values():
        if row["id"] in {one["incident_id"] for one in links if one["state"] != "offered"}:
            continue
        wanted = setup.rules.create and row["status"] not in OVER
        wanted = wanted and accepts(Seen({**row, **(row["custom"] or {})}, row["extra"] or {}), setup.intake.filter)
        parked = any(p["incident_id"] == row["id"] and p["kind"] == "create" for p in facts.parked)
        assert not wanted or parked, f"incident {row['id']} was not created in {name}"


def _fields(facts: Facts, mirror: Mirroring, link: dict[str, Any], record: Record) -> None:
    """Both sides agree, or the difference is listed."""
    incident, shown = facts.incidents[link["incident_id"]], record.states[-1][1]
    for way in mirror.table:
        row = way.row
        ours, theirs = incident.get(row.ours), shown.get(row.theirs)
        fits = row.our_value(theirs) is not UNMAPPED and row.their_value(ours) is not UNMAPPED
        if row.same(ours, theirs) or not fits or facts.listed(link, row.ours, row.theirs):
            continue
        assert way.direction != "both", f"{row.ours} differs: {ours!r} here, {theirs!r} in {link}"
        moving, base = (
            (theirs, link["base_system"] or link["seen"]) if way.direction == "in" else (ours, link["base_store"])
        )
        key = row.theirs if way.direction == "in" else row.ours
        assert way.direction == "off" or base.get(key) == moving, f"{row.ours} did not travel {way.direction}: {link}"


def _entries_there(facts: Facts, mirror: Mirroring, link: dict[str, Any], record: Record) -> None:
    """Each entry that travels out is there once, in order."""
    kinds = mirror.kinds(incoming=False)
    parked = {row["entry_id"] for row in facts.parked if row["link_id"] == link["id"]}
    out = [
        row
        for row in facts.entries[link["incident_id"]]
        if row["system_id"] != mirror.system_id
        and row["kind"] in kinds
        and row["id"] not in parked
        and _tagged(mirror, row)
    ]
    sent = [(e.kind, e.text, e.name) for e in record.entries if e.author == ME]
    assert sent == [(row["kind"], row["text"], row["name"]) for row in out], f"entries out of {link}"


def _tagged(mirror: Mirroring, row: dict[str, Any]) -> bool:
    tags = (mirror.rules.files if row["kind"] == "file" else mirror.rules.comments).tags
    return not tags or bool(set(tags) & set(row["tags"] or ()))


def _entries_here(bench: Bench, facts: Facts, mirrors: dict[str, Mirroring]) -> None:
    """Each entry of a person there is here once, in order."""
    for name, mirror in mirrors.items():
        kinds = mirror.kinds(incoming=True)
        for link in facts.links:
            record = bench.mirrors[name].world.records.get(link["remote_id"] or "")
            if link["system_id"] != mirror.system_id or not link["incident_id"] or record is None:
                continue
            here = [
                (row["kind"], row["text"], row["name"])
                for row in facts.entries[link["incident_id"]]
                if row["system_id"] == mirror.system_id
            ]
            there = [(e.kind, e.text, e.name) for e in record.entries if e.author != ME and e.kind in kinds]
            if link["state"] == "linked" and not record.retired:
                assert here == there, f"entries into {link}"
            else:
                assert not Counter(here) - Counter(there), f"entries into {link}"


def _audit(facts: Facts, ledger: Ledger) -> None:
    """Each change follows from the last, the last one shows what is there now, and no value comes back."""
    chains: dict[tuple[int, str], list[list[Value]]] = defaultdict(list)
    for row in facts.audit:
        if row["action"] in DECIDED:
            for name, change in row["changes"].items():
                chains[row["incident_id"], name].append(change)
    for (incident_id, name), changes in chains.items():
        incident = facts.incidents[incident_id]
        now = incident[name] if name in incident else (incident["custom"] or {}).get(name)
        assert all(one[1] == other[0] for one, other in pairwise(changes)), (
            f"audit of {name} of {incident_id}: {changes}"
        )
        assert changes[-1][1] == now, f"audit of {name} of {incident_id}: {changes}, {now!r}"
        if name in UNIQUE and not ledger.computing:
            values = [value for _, value in changes if value is not None]
            assert len(values) == len(set(values)), f"{name} of {incident_id} went to and fro: {changes}"


def _nothing_lost(bench: Bench, facts: Facts, mirrors: dict[str, Mirroring], ledger: Ledger) -> None:
    """A value stands at the end only if nobody who saw it wrote another: or that person's edit would be lost."""
    followed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, saw, wrote in ledger.edits:
        followed[name, saw].add(wrote)
    for row in facts.audit:
        if row["actor"] == "bob" and row["action"] in DECIDED:
            for name, (saw, wrote) in row["changes"].items():
                if name in UNIQUE:
                    followed[name, canonical(saw)].add(canonical(wrote))
    everywhere = {name for name in UNIQUE if all(_both(m, name) for m in mirrors.values())}
    for incident in facts.incidents.values():
        links = [link for link in facts.links if link["incident_id"] == incident["id"]]
        if any(link["state"] not in {"linked", "offered"} or link["missing_since"] for link in links):
            continue
        for name in everywhere:
            key = next(row.theirs for row in MAP.rows if row.ours == name)
            value = canonical(incident[name])
            if (
                incident[name] is None
                or value in ledger.doubtful
                or any(facts.listed(link, name, key) for link in links)
            ):
                continue
            assert not followed[name, value], f"{name} of {incident['id']} is {value}, lost: {followed[name, value]}"


def _both(mirror: Mirroring, name: str) -> bool:
    return any(way.row.ours == name and way.direction == "both" for way in mirror.table)


def quiet(calls: Sequence[str]) -> bool:
    """Whether a cycle asked for nothing beside its page."""
    return set(calls) <= {"changes"} and not WRITES & set(calls)
