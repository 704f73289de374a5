"""The full read: every record of the system against its link, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from time import monotonic

from blocks.errors import Unauthorized, Unreadable
from blocks.model import Incident, Page
from tasks.decide.reconcile import missed
from tasks.mirroring.compare import draft_shown
from tasks.mirroring.findings import Found
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconciling import Reconciling
from tasks.mirroring.take import Look, keep, look

Created = dict[str, tuple[int, int]]


async def read_pages(r: Reconciling, *, pages: int = 1_000_000, seconds: float = 1e9) -> bool:
    """Read on for so many pages or seconds; answers whether everything is read. A call after an error begins anew.

    Raises:
        Unavailable, Unauthorized, LockLost: what was taken in stays.
        Unreadable: a page of one record cannot be read.
    """
    done, begun, feed = 0, monotonic(), await r.open_feed()
    goes_on = False
    try:
        async for page in feed:
            await _page(r, page)
            done += 1
            if done >= pages or monotonic() - begun > seconds:
                goes_on = True
                return False
    except Unreadable:
        # The whole once more, in pages of half the size, down to one record.
        if r.size == 1:
            r.m.reads_failed = True
            raise
        r.size = max(1, r.size // 2)
        return False
    finally:
        if not goes_on:
            await r.close_feed()
    _must_show_something(r)
    return True


def _must_show_something(r: Reconciling) -> None:
    """An empty answer may mean that the login sees nothing any more: then nothing follows from it."""
    if r.m.able.lists_over and not r.shown and r.linked > r.m.limits.unlinks:
        message = f"shows none of the {r.linked:,} linked records: look whether the login may still see them"
        raise Unauthorized(message, system=r.m.system.fingerprint(), call="everything")


async def _page(r: Reconciling, page: Page) -> None:
    m = r.m
    looked = await look(m, page, since=r.since, content=not r.dry)
    await r.guard()
    created: Created = {}
    if r.dry:
        m.tally.counts["read"] += len(page.incidents)
        await draft_shown(r, [(link, incident) for link, incident, _ in looked.order.changed])
    else:
        created = await keep(m, looked, move_cursor=False)
    r.findings.add(_findings(r, looked, created))
    ids = [link.id for link in looked.links.values()]
    r.looked.add([*ids, *(one.link_id for one in looked.keyed.paired)])
    r.shown += len(ids)


def _findings(r: Reconciling, looked: Look, created: Created) -> Iterator[Found]:
    yield from _missed(r, looked)
    yield from _keyed(r.m, looked)
    orphans = {incident.id for incident, _ in looked.keyed.orphans}
    for admitted in looked.admission.new:
        one = admitted.incident
        number = created.get(one.id, (0, None))[1]
        if one.id in orphans or _was_missed(r, one):
            yield Found("missed", number, one.id, "a new incident" if r.dry else "new in the store")
    for one, why in looked.admission.dropped:
        if _was_missed(r, one):
            yield Found("missed", None, one.id, why)
    for bad in looked.page.bad:
        known = looked.links.get(bad.id)
        yield Found("unreadable", known.incident_id if known else None, bad.id, bad.error)


def _missed(r: Reconciling, looked: Look) -> Iterator[Found]:
    """What is known, and was changed without the feed's showing it."""
    for link, one, text in looked.order.changed:
        if link.away:
            yield Found("missed", link.incident_id, one.id, "it is there again")
        elif text != link.seen and _was_missed(r, one):
            yield Found("missed", link.incident_id, one.id, f"changed at {one.updated:%Y-%m-%d %H:%M:%S} UTC")
    fresh = {entry.incident_id for entry in looked.entries.items}
    for link, one in looked.order.same:
        if one.id in fresh and link.incident_id is not None:
            yield Found("missed", link.incident_id, one.id, "entries")


def _was_missed(r: Reconciling, one: Incident) -> bool:
    return missed(_ours(r.m, one.updated), r.read_at, r.m.settle)


def _ours(m: Mirroring, at: datetime) -> datetime:
    """A time of the system's clock by ours."""
    return at - m.system.skew


def _keyed(m: Mirroring, looked: Look) -> Iterator[Found]:
    """Records that carry a key of ours, and where that leads."""
    for adopted in looked.keyed.paired:
        yield Found("paired", adopted.incident_id, adopted.incident.id)
    for one, link in looked.keyed.twins:
        words = f"carries the key of this incident, which is {link['remote_id']} there already"
        yield Found("twin", link["incident_id"], one.id, words)
    taken = {admitted.incident.id for admitted in looked.admission.new}
    for one, number in looked.keyed.orphans:
        if one.id not in taken:
            yield Found("orphan", None, one.id, f"its key names link {number}, which is not of this mirror")
    for known, one in [(known, one) for known, one, _ in looked.order.changed] + looked.order.same:
        carried = m.own(one.key, "i")
        if carried not in {None, known.id}:
            words = f"is linked with this incident by link {known.id}, and carries the key of link {carried}"
            yield Found("twin", known.incident_id, one.id, words)
