"""XSOAR's calls about the entries of an incident, which are in its War Room."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from blocks.errors import NotFound, Refused, Unreadable
from blocks.incidents import _xsoar as records
from blocks.incidents._xsoar_calls import Server
from blocks.model import Entry, Incident

log = logging.getLogger("lockstep.xsoar")

ENTRIES: Final = 100
"""Entries asked for at a time; a moment that holds more is asked for in larger pages."""
GROW: Final = 4
EARLIER: Final = timedelta(seconds=2)
"""The clocks are known to a second."""


async def entries(
    server: Server, incident: Incident, *, since: datetime = records.EPOCH, every: bool = False
) -> list[Entry]:
    """Entries from a time on, by our categories and tags or `every` one. What is gone has none.

    A page is the oldest entries from a time on, so the next begins at the newest one's, inclusive.
    """
    found: dict[str, Entry] = {}
    size, first = ENTRIES, since
    while incident.entry_ids is None:
        try:
            rows = await _page(server, incident.id, first, size, every=every)
        except NotFound:
            break
        found |= {one.id: one for one, deleted in rows if one.created >= since and not deleted}
        if len(rows) < size:
            break
        newest = max(one.created for one, _ in rows)
        first, size = (newest, size) if newest > first else (first, size * GROW)
    return sorted(found.values(), key=records.age)


async def _page(server: Server, id: str, first: datetime, size: int, *, every: bool) -> list[tuple[Entry, bool]]:
    """The oldest so many entries since, and whether each was deleted. NotFound, Unreadable."""
    chosen = {} if every else {"categories": list(server.categories), "tags": list(server.tags)}
    body = {"pageSize": size, "fromTime": records.text(first), "tagsAndOperator": False, **chosen}
    answer = await server.call("POST", f"investigation/{quote(id)}", id=id, json=body)
    try:
        raws = answer.get("entries") or ()
        return [(records.entry(raw, id, server.own), bool(raw.get("deleted"))) for raw in raws]
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        message = f"an entry cannot be read: {type(error).__name__}: {error}"[:300]
        raise Unreadable(message, system=server.system, call="POST investigation", id=id) from None


async def add(server: Server, incident: Incident, entry: Entry) -> str:
    """Add an entry; answers its id. A War Room that is shut is opened. Refused, NotFound, Stale."""
    before = server.now()
    try:
        added = await _send(server, incident.id, entry)
    except NotFound:
        if not await _investigate(server, incident.id):
            raise
        added = await _send(server, incident.id, entry)
    added = added or await find(server, incident, entry, before)
    if added is None:
        message = "the answer does not tell the entry's id"
        raise Unreadable(message, system=server.system, call="POST entry", id=incident.id)
    return added


async def _send(server: Server, id: str, entry: Entry) -> str | None:
    """Its id, if the answer tells it. NotFound: no War Room is open, or no incident is there.

    Never by the route `entry`: there a text that begins with an exclamation mark is a command, and is run.
    """
    if entry.kind == "file":
        path, (headers, form) = f"entry/upload/{quote(id)}", _form(entry)
        answer = await server.call("POST", path, id=id, sent={"file": entry.name}, headers=headers, content=form)
    else:
        body: dict[str, Any] = {"contents": entry.text, "format": "text"}
        if entry.kind == "note":
            body = {"data": entry.text, "markdown": False}
        path = "entry/note" if entry.kind == "note" else "entry/formatted"
        sent = {"text": entry.text}
        answer = await server.call("POST", path, id=id, sent=sent, json={"investigationId": id, **body})
    _learn(server, answer)
    return records.entry_id(answer)


def _form(entry: Entry) -> tuple[dict[str, str], bytes]:
    """A file as a form of one part, headers and body. A quotation mark is escaped as XSOAR reads it, which is written
    in Go: httpx would send it as %22, and the file would keep that in its name.
    """
    mark = f"lockstep-{secrets.token_hex(16)}"
    name = re.sub(r'(["\\\\])', r"\\\1", re.sub(r"[\x00-\x1f\x7f]", "_", entry.name or "file"))
    kind = entry.media_type if records.MEDIA.fullmatch(entry.media_type) else "application/octet-stream"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    body = b"".join((head.encode(), entry.data or b"", f"\r\n--{mark}--\r\n".encode()))
    return {"Content-Type": f"multipart/form-data; boundary={mark}"}, body


def _learn(server: Server, answer: Any) -> None:  # noqa: ANN401  as it came
    user = answer.get("user") if isinstance(answer, dict) else None
    if user and user not in server.own:
        server.own.add(user)
        log.warning("%s: what this key writes is shown as %r: set login to that", server.system, user)


async def _investigate(server: Server, id: str) -> bool:
    """Open an incident's War Room, which makes it active; answers whether it was shut till now. NotFound, Stale."""
    raw = await server.load(id)
    if raw.get("investigationId"):
        return False
    await server.call("POST", "incident/investigate", id=id, json={"id": id, "version": raw["version"]})
    return True


async def find(
    server: Server, incident: Incident, entry: Entry, after: datetime, known: AbstractSet[str] = frozenset()
) -> str | None:
    """The newest entry of our own since, in the server's time, that is equal and none of `known`."""
    room = replace(incident, entry_ids=None)
    for one in reversed(await entries(server, room, since=after - EARLIER, every=True)):
        if one.own and one.kind == entry.kind and one.id not in known and await _same(server, one, entry):
            return one.id
    return None


async def _same(server: Server, one: Entry, entry: Entry) -> bool:
    if entry.kind != "file":
        return one.text.strip() == entry.text.strip()
    if one.name != entry.name or entry.data is None:
        return one.name == entry.name
    return b"".join([chunk async for chunk in content(server, one)]) == entry.data


async def content(server: Server, entry: Entry) -> AsyncIterator[bytes]:
    """A file's bytes. Refused: no entry has such an id."""
    if not records.is_entry_id(entry.id):
        message = f"not the id of an entry: {entry.id[:40]!r}"
        raise Refused(message, system=server.system, call="GET entry/download", id=entry.id[:40])
    path = f"entry/download/{quote(entry.id, safe='@')}"
    async for chunk in server.http.stream_bytes("GET", path, id=entry.id, headers={"Accept": "*/*"}):
        yield chunk
