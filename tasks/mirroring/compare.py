"""Compare the two sides of links, as the store knows them: what differs, what is gone, what is to be decided again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.fieldmap import Field
from blocks.model import OVER, Incident
from blocks.points import at
from blocks.store.links import CHUNK, CLEAN, DIRTY, LINK, Known, Work, mark, work
from tasks.decide.merge import NEVER
from tasks.decide.reconcile import differences
from tasks.mirroring.answers import Standing, save
from tasks.mirroring.findings import Found
from tasks.mirroring.judge import Line, Verdict, sides, verdict
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import add_lines
from tasks.mirroring.pull import alone
from tasks.mirroring.reconciling import Reconciling
from tasks.mirroring.take import miss, take


@dataclass(slots=True)
class Compared:
    """One link: what was found, the fields that drifted, whether it is to be decided again, and what it needs then."""

    verdict: Verdict
    found: list[Found] = field(default_factory=list)
    drifted: list[Field] = field(default_factory=list)
    again: bool = False

    @property
    def wanted(self) -> bool:
        """Whether the store must be told."""
        return self.again or bool(self.drifted)


async def compare_links(r: Reconciling, *, seconds: float = 1e9) -> bool:
    """Compare on for so many seconds; answers whether all links are compared. The full read is over.

    Raises:
        Unavailable, Unauthorized: from the system, while it was asked for what no page showed.
    """
    begun = monotonic()
    while True:
        async with r.m.database.read() as connection:
            within = (LINK.c.system_id == r.m.system_id, LINK.c.id > r.after, LINK.c.id <= r.last)
            ids = (
                await connection.execute(select(LINK.c.id).where(*within).order_by(LINK.c.id).limit(CHUNK))
            ).scalars()
            works = await work(r.m.database, connection, numbers := list(ids), lock=False)
        if not numbers:
            return True
        await _chunk(r, works)
        r.after = numbers[-1]
        if monotonic() - begun > seconds:
            return False


async def _chunk(r: Reconciling, works: Sequence[Work]) -> None:
    m = r.m
    absent = await _ask(m, [one for one in works if _in_no_page(r, one)])
    await r.guard()
    found: list[Found] = []
    supposed = []
    for one in works:
        shown = absent.get(one.link["id"], one)
        if shown is None:
            found.append(_of(one, "gone", str(one.incident["title"] or "")))
            m.confirmed_gone.add(one.link["id"])
            supposed.append(replace(one, link={**one.link, "missing_since": one.link["missing_since"] or m.now()}))
        elif isinstance(shown, Incident):
            found += [_of(one, "out of scope")] if shown.updated - m.system.skew < m.started else []
            supposed.append(_showing(m, one, shown))
        else:
            supposed.append(one)
    compared = [compare(m, one) for one in supposed]
    if r.dry:
        await _draft(r, [one for one in compared if one.verdict.link_id not in r.decided])
    else:
        await _note(r, works, absent, compared)
    r.findings.add([*found, *(one for each in compared for one in each.found)])


def _in_no_page(r: Reconciling, one: Work) -> bool:
    linked = one.link["state"] == "linked" and one.link["remote_id"] is not None
    return linked and one.link["id"] not in r.looked and (r.m.able.lists_over or not _over(r.m, one))


def _over(m: Mirroring, one: Work) -> bool:
    """Whether the system showed it to be over: one that lists only what is open will not show it again."""
    return m.fields.to_ours(one.link["seen"] or {})[0].get("status") in OVER


async def _ask(m: Mirroring, works: Sequence[Work]) -> dict[int, Incident | None]:
    """What no page showed, asked for alone: link id → the record, or None: not found, which is the second look."""
    gate = asyncio.Semaphore(m.parallel)

    async def one(link: Mapping[str, Any]) -> tuple[int, Incident | None]:
        async with gate:
            try:
                return link["id"], await at("get", m.system.get(link["remote_id"]))
            except NotFound:
                return link["id"], None

    asked = [asyncio.ensure_future(one(each.link)) for each in works]
    try:
        return dict(await asyncio.gather(*asked))
    finally:
        # One that fails ends it all: nothing is asked any more once the lock and the client are gone.
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def compare(m: Mirroring, one: Work) -> Compared:
    """Compare one link. A write that is not answered yet, and a record that is missing, come first."""
    if one.link["state"] != "linked" or one.link["missing_since"] is not None or one.intents:
        result = Compared(verdict(m, one))
        if one.link["state"] == "unlinked":
            result.found.append(_of(one, "unlinked", one.link["error"] or ""))
        return result
    clean = one.link["dirty"] == CLEAN
    found = list(differences(sides(m, one), m.table, m.coarse))
    drifted = [each.row for each in found if each.why == "drift"]
    result = Compared(verdict(m, parted(one, drifted) if drifted else one), drifted=drifted)
    result.again = clean and bool(result.verdict.lines or result.verdict.merge.agreed or result.verdict.merge.waits)
    for each in found:
        if each.why != "rules" or clean:
            words = "" if each.why != "closed side" else _side(each.row, one)
            result.found.append(
                replace(_of(one, each.why, words), field=each.row.ours, store=each.store, system=each.system)
            )
    if clean:
        result.found += _owed(one, result.verdict.lines)
    return result


def parted(one: Work, rows: Sequence[Field]) -> Work:
    """A link of which the two never agreed on these fields."""
    link = one.link
    base_store = {**(link["base_store"] or {}), **{row.ours: NEVER for row in rows}}
    seen = link["seen"] or {}
    base_system = {
        **(seen if link["base_system"] is None else link["base_system"]),
        **{row.theirs: NEVER for row in rows},
    }
    return replace(one, link={**link, "base_store": base_store, "base_system": base_system})


def _side(row: Field, one: Work) -> str:
    here = one.store.get(row.ours) != (one.link["base_store"] or {})[row.ours]
    return "changed in the store" if here else "changed in the system"


def _owed(one: Work, lines: Sequence[Line]) -> Iterator[Found]:
    """What would not have been left on a clean link under today's rules, beside its fields."""
    entries = sum(line.verb == "entry" for line in lines)
    if entries:
        yield replace(_of(one, "rules", f"{entries} to be sent"), field="entries")


def _of(one: Work, kind: str, words: str = "") -> Found:
    return Found(kind, one.incident["id"], one.link["remote_id"] or "", words)


def _showing(m: Mirroring, one: Work, shown: Incident) -> Work:
    """A link, if its record were seen as it is shown."""
    standing = Standing.of(one.link)
    standing.show(m, shown, at=(shown.updated - m.system.skew).isoformat())
    moved = {
        "seen": standing.seen,
        "seen_version": standing.version,
        "base_system": standing.base_system,
        "base_store": standing.base_store,
        "left_system": standing.left,
        "state": "linked",
        "dirty": DIRTY,
        "missing_since": None,
    }
    return replace(one, link={**one.link, **moved})


async def draft_shown(r: Reconciling, shown: Sequence[tuple[Known, Incident]]) -> None:
    """Of a dry run: plan what these changed records would lead to."""
    records = {link.id: incident for link, incident in shown}
    async with r.m.database.read() as connection:
        works = await work(r.m.database, connection, sorted(records), lock=False)
    compared = [compare(r.m, _showing(r.m, one, records[one.link["id"]])) for one in works]
    await _draft(r, compared)
    r.decided.add(records)


async def _draft(r: Reconciling, compared: Sequence[Compared]) -> None:
    lines = [line for one in compared for line in one.verdict.lines]
    if lines:
        async with r.m.database.begin("plan") as connection:
            await add_lines(r.m, connection, r.plan, lines)


async def _note(
    r: Reconciling, works: Sequence[Work], absent: Mapping[int, Incident | None], compared: Sequence[Compared]
) -> None:
    """Keep what was found, so that the next plan decides it, of this run or of another."""
    m = r.m
    await miss(m, [one.link["remote_id"] for one in works if absent.get(one.link["id"], one) is None])
    for shown in absent.values():
        if shown is not None:
            await take(m, alone(shown), move_cursor=False)
    ids = [one.verdict.link_id for one in compared if one.wanted]
    if ids:
        async with m.database.begin("reconcile") as connection:
            await _part(m, connection, ids)


async def _part(m: Mirroring, connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Compared once more, on rows that nobody changes meanwhile."""
    compared = [(one, compare(m, one)) for one in await work(m.database, connection, ids, lock=True)]
    standings = [Standing.of(parted(one, each.drifted).link) for one, each in compared if each.drifted]
    await save(m, connection, standings)
    await mark(connection, [each.verdict.link_id for _, each in compared if each.wanted], dirty=DIRTY)
