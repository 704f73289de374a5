"""Reading RT: what changed in the queue, and what people wrote and attached."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

from blocks.incidents import _request_tracker as records
from blocks.incidents import _request_tracker_feed as feed
from blocks.incidents import _request_tracker_words as words
from blocks.incidents._request_tracker_calls import AT_ONCE, SHOWN, Tracker
from blocks.model import BadRecord, Entry, Incident, Page

BLOCK: Final = 20
"""How many pages of transactions are read before their tickets are: each ticket once, whatever was done to it."""
HALF: Final = AT_ONCE // 2
"""RT cuts a page first, then leaves out what the login may not see: a page that is half full is not the last."""

T = TypeVar("T")


async def walk(tracker: Tracker, place: feed.Place, size: int) -> AsyncIterator[Page]:
    """Pages of what changed since, in the order of their newest transactions."""
    if place.last is None:
        place = await _since(tracker, place)
    begin, more = place.begin, True
    while more:
        block, more = await _block(tracker, begin)
        begin = max((one.id for one in block), default=begin)
        new = place.new(block)
        for portion in feed.portions(new, min(size, AT_ONCE)):
            place = place.after(new, max(portion.values()))
            incidents, bad = await _tickets(tracker, portion)
            if incidents or bad:
                yield Page(incidents, str(place), bad=bad)


async def _since(tracker: Tracker, place: feed.Place) -> feed.Place:
    """The place after the last transaction from before a time."""
    gap, found = feed.Gap(place.at), None
    while found is None:
        page = await changes(tracker, "id > 0" if gap.below is None else f"id < {gap.below}", "DESC")
        tracker.risen(-(gap.below or sys.maxsize), [-one.id for one in page])
        found = gap.read(page)
    return feed.Place(place.at, found, frozenset(range(max(found - feed.OVERLAP, 0), found + 1)))


async def changes(tracker: Tracker, bounds: str, order: str = "ASC") -> list[feed.Change]:
    """A page of the queue's transactions.

    By the first condition RT leaves out already in SQL the tickets that the login may not see.
    """
    query = f"ObjectType = 'RT::Ticket' AND TicketQueue = {words.quoted(tracker.queue)} AND {bounds}"
    how = {"fields": "ObjectId,Created", "orderby": "id", "order": order, "per_page": str(AT_ONCE)}
    rows = await tracker.search("transactions", query, **how)
    return tracker.read(
        lambda: [feed.Change(int(r["id"]), str(r["ObjectId"]), records.time(r["Created"])) for r in rows],
        "transactions",
    )


async def _block(tracker: Tracker, begin: int) -> tuple[list[feed.Change], bool]:
    """Transactions after `begin`, and whether there are more."""
    block: list[feed.Change] = []
    for _ in range(BLOCK):
        page = await changes(tracker, f"id > {begin}")
        block += page
        if len(page) < HALF:
            return block, False
        begin = tracker.risen(begin, [one.id for one in page])
    return block, True


async def _tickets(tracker: Tracker, newest: dict[str, int]) -> tuple[list[Incident], list[BadRecord]]:
    """These tickets, in this order. What was deleted, merged or moved meanwhile is left out."""
    rows = await tracker.search("tickets", f"{tracker.scope} AND {words.any_of('id', newest)}", **SHOWN)
    incidents: dict[str, Incident] = {}
    bad: list[BadRecord] = []
    for row in rows:
        one = _ticket(tracker, row, newest)
        if isinstance(one, Incident):
            incidents[one.id] = one
        else:
            bad.append(one)
    return [incidents[id] for id in newest if id in incidents], bad


def _ticket(tracker: Tracker, row: Any, newest: dict[str, int]) -> Incident | BadRecord:  # noqa: ANN401  as it came
    tracker.shapes.learn(row)
    shown = str(row.get("id")) if isinstance(row, dict) else ""
    return records.incident(row, records.version(newest.get(shown, 0)), tracker.shapes, tracker.key_field)


async def entries(tracker: Tracker, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
    """What people wrote and attached, without what is known, oldest first."""
    keys = {one.id: one.key for one in incidents}
    told: list[records.Said] = []
    for some in words.chunks(list(keys), AT_ONCE):
        told += await _said(tracker, some)
    whole = {one.partition("/attachment/")[0] for one in known}
    told = [one for one in told if f"transaction/{one.id}" not in whole]
    ids = [str(one.id) for one in told]
    bodies = await _parts(tracker, ids, "IS", "Content,ContentType,TransactionId")
    files = await _parts(tracker, ids, "IS NOT", "Filename,ContentType,ContentLength,TransactionId")
    return tracker.read(lambda: records.entries(told, bodies, files, tracker.login, keys), "attachments")


async def _said(tracker: Tracker, tickets: Sequence[str]) -> list[records.Said]:
    """The transactions of these tickets in which somebody said something."""
    kinds = " OR ".join(f"Type = '{kind}'" for kind in records.SAID)
    query = f"ObjectType = 'RT::Ticket' AND {words.any_of('ObjectId', tickets)} AND ({kinds})"
    how = {"fields": "Type,ObjectId,Creator,Created,CustomFields", "orderby": "id", "per_page": str(AT_ONCE)}

    async def after(last: int) -> list[Any]:
        return await tracker.search("transactions", f"{query} AND id > {last}", **how)

    rows = await _all(tracker, after)
    return tracker.read(lambda: [records.said(row, tracker.entry_field) for row in rows], "transactions")


async def _parts(tracker: Tracker, transactions: Sequence[str], named: str, fields: str) -> list[Any]:
    """The parts of what these transactions hold, those with a file's name (`IS NOT`) or those without (`IS`)."""
    how = {"fields": fields, "orderby": "id", "per_page": str(AT_ONCE)}
    found: list[Any] = []
    for some in words.chunks(transactions, AT_ONCE):
        within = {"field": "TransactionId", "operator": "IN", "value": some}
        name = {"field": "Filename", "operator": named, "value": "NULL"}

        async def after(last: int, first: Any = within, second: Any = name) -> list[Any]:  # noqa: ANN401  JSON
            return await tracker.attachments([first, second, {"field": "id", "operator": ">", "value": last}], how)

        found += await _all(tracker, after)
    return found


async def _all(tracker: Tracker, after: Callable[[int], Any]) -> list[Any]:
    """All pages of a search by rising ids."""
    found: list[Any] = []
    last = 0
    while True:
        rows = await after(last)
        found += rows
        if len(rows) < HALF:
            return found
        last = tracker.risen(last, tracker.read(lambda rows=rows: [int(row["id"]) for row in rows], "search"))  # type: ignore[misc]  # a default
