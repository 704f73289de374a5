"""A REST system's comments: read, added, and found again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final

from blocks.errors import Refused, Unreadable
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_calls import Connection
from blocks.model import Entry, Incident

AT_ONCE: Final = 50
"""How many ids go into one search."""


async def read(connection: Connection, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
    """Those of these incidents that are not known, the oldest first. Unreadable."""
    if not connection.form.comments_path:
        return []
    in_bulk = "ids" in templates.places(connection.form.comments_path)
    found = await (_by_ids(connection, incidents, known) if in_bulk else _by_incident(connection, incidents))
    once = {one.id: one for one in reversed(found)}
    return sorted((one for one in once.values() if one.id not in known), key=_age)


def _age(one: Entry) -> tuple[datetime, int, str]:
    return one.created, len(one.id), one.id


async def _by_incident(connection: Connection, incidents: Sequence[Incident]) -> list[Entry]:
    each = await asyncio.gather(*(_some(connection, {"id": one.id}, {}, one.id) for one in incidents))
    return [one for some in each for one in some]


async def _by_ids(connection: Connection, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
    """A comment that several incidents name is the first one's."""
    owner = {one: it.id for it in reversed(incidents) for one in it.entry_ids or () if one not in known}
    ids, found = list(owner), list[Entry]()
    for begin in range(0, len(ids), AT_ONCE):
        found += await _some(connection, {"ids": ids[begin : begin + AT_ONCE]}, owner, "")
    return found


async def _some(connection: Connection, values: templates.Values, owner: Mapping[str, str], id: str) -> list[Entry]:
    form, reader, found = connection.form, connection.reader, list[Entry]()
    async for row in connection.all(form.comments_path, form.comment_items, values):
        try:
            one = reader.entry(row, id or owner[reader.id(row, "comment_id")], form.account or form.login)
        except (ValueError, TypeError, OverflowError, KeyError) as error:
            message = f"a comment cannot be read: {type(error).__name__}: {error}"[:300]
            raise Unreadable(message, **connection.about("GET", id)) from None
        found += [one] if one else []
    return found


async def add(connection: Connection, incident: Incident, entry: Entry, key: str) -> str:
    """Post it, and link it where the form says so. After a crash between the two, nothing shows it: it goes again.

    Refused: it is a file, or the form says nothing of comments.
    """
    form, id, sent = connection.form, incident.id, {"text": entry.text}
    if entry.kind == "file" or not form.comment_add_path:
        message = (
            "a REST system takes no files" if entry.kind == "file" else "the block's form has no `comment_add_path`"
        )
        raise Refused(message, fields={"text": message}, **connection.about("add_entry", id))
    values = {"id": id, "text": entry.text, "key": key, "account": form.account or form.login}
    if any(name.startswith("record.") for name in templates.places(form.comment_body)):
        values["record"] = (await connection.record(id))[1]
    body = templates.body(templates.parsed(form.comment_body), values)
    answer = await connection.write("POST", form.comment_add_path, values, sent, json=body)
    comment = connection.new_id(answer, "comment_added_id")
    if form.link_path:
        await connection.link(id, comment, sent)
    return comment


async def find(
    connection: Connection, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str]
) -> str | None:
    """The id of a comment that we may have added."""
    if entry.kind == "file" or not connection.form.comments_path:
        return None
    in_bulk = "ids" in templates.places(connection.form.comments_path)
    now = (await connection.record(incident.id))[0] if in_bulk else incident
    there = await read(connection, [now], frozenset())
    if connection.form.comment_key:
        return next((one.id for one in there if one.key == key), None)
    since = after - timedelta(seconds=1 + connection.form.clock_seconds)
    ours = (one for one in reversed(there) if one.own and one.id not in known and one.created >= since)
    return next((one.id for one in ours if _words(one.text) == _words(entry.text)), None)


def _words(text: str) -> list[str]:
    """Some systems trim a text, and write its line breaks in their own way."""
    return text.strip().splitlines()
