"""What a check of a REST system says: whether the system answers as its form describes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from blocks.errors import LockstepError, Misconfigured
from blocks.incidents import _rest_comments as comments
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_calls import Connection
from blocks.incidents._rest_feed import Found
from blocks.incidents._rest_paths import Times
from blocks.model import BadRecord, Finding, Incident

_ADVICE: Final = {
    401: "look at `auth`, login and secret",
    403: "look at `auth`, login and secret, and what this account may do",
    404: "look at `address` and the path that is asked for",
}
_NOBODYS: Final = "lockstep-check-0"
_FIRST: Final = datetime.fromisoformat("1970-01-02T00:00:00+00:00")


@dataclass(slots=True)
class _Looks:
    """What earlier looks found."""

    connection: Connection
    incidents: list[Incident] = field(default_factory=list)

    @property
    def one(self) -> Incident | None:
        """The one that is looked at: the oldest change, which nobody works on now."""
        return self.incidents[0] if self.incidents else None


Look = Callable[[_Looks], Awaitable[str]]


async def findings(connection: Connection) -> list[Finding]:
    """A check's lines, up to the first that is wrong. Whether we may write is seen at the first write only."""
    done: list[Finding] = []
    looks = _Looks(connection)
    each: dict[str, Look] = {"list": _list, "records": _records, "pages": _pages, "since": _since, "one": _one}
    each |= {"comments": _comments, "key": _key}
    for what, look in each.items():
        try:
            done.append(Finding(what, ok=True, detail=await look(looks)))
        except LockstepError as error:
            said = ": ".join(part for part in (error.message, _ADVICE.get(error.status, "")) if part)
            return [*done, Finding(what, ok=False, detail=said)]
    return done


async def _ask(connection: Connection, at: datetime, size: int = 0, position: int | str | None = None) -> Found:
    form = connection.form
    times = Times(form.since_times or form.times)
    return await connection.found(times.text(at), position, size or form.page_size)


async def _list(looks: _Looks) -> str:
    found = await _ask(looks.connection, _FIRST)
    looks.incidents = [row for row in found.rows if isinstance(row, Incident)]
    bad = [row for row in found.rows if isinstance(row, BadRecord)]
    if bad and not looks.incidents:
        raise Misconfigured(f"no record can be read: {bad[0].error}")
    return f"{len(looks.incidents)} records" if found.rows else "it is empty: what follows could not be looked at"


async def _records(looks: _Looks) -> str:
    """Some systems leave out what is empty; a title never is."""
    reader, title = looks.connection.reader, looks.connection.form.title
    unseen = [key for key in reader.fields if looks.incidents and not any(key in one.fields for one in looks.incidents)]
    words = f"no record shows {', '.join(unseen)}: look at `mapped` and `further`" if unseen else ""
    if title in unseen:
        raise Misconfigured(words)
    return words


async def _pages(looks: _Looks) -> str:
    """A page that is not full must be the last, where that is how the end is told."""
    form = looks.connection.form
    if form.paging not in ("page", "offset") or form.total_at or not looks.incidents:
        return ""
    count = len(looks.incidents)
    after = form.first_page + 1 if form.paging == "page" else count
    if count < form.page_size and (further := (await _ask(looks.connection, _FIRST, position=after)).rows):
        known = {one.id for one in looks.incidents}
        if any(isinstance(row, Incident) and row.id not in known for row in further):
            raise Misconfigured(f"a page holds {count} at most: put {count} into `page_size`")
    return ""


async def _since(looks: _Looks) -> str:
    """A record must be found by its own time, and not by a later one."""
    form, one = looks.connection.form, looks.one
    if one is None or "since" not in templates.places(form.list_path):
        return ""
    step = timedelta(seconds=2 * form.clock_seconds + 1)
    for at, there in ((one.updated, True), (one.updated + step, False)):
        found = {row.id for row in (await _ask(looks.connection, at)).rows if isinstance(row, Incident)}
        full = len(found) >= form.page_size
        if (one.id in found) != there and not full and (await looks.connection.record(one.id))[0] == one:
            words = "a list since a time misses" if there else "a list since a later time shows"
            where = "look at {since}, `since_times`, and the time zone of the account"
            raise Misconfigured(f"{words} what was changed at {one.version}: {where}")
    return ""


async def _one(looks: _Looks) -> str:
    """One incident alone must look as it does in the list."""
    connection, one = looks.connection, looks.one
    if one is None:
        return ""
    now, _, etag = await connection.before(one.id)
    if now.version == one.version and now.fields != one.fields:
        keys = sorted(key for key in {**now.fields, **one.fields} if now.fields.get(key) != one.fields.get(key))
        raise Misconfigured(f"{', '.join(keys)} differ between the list and one incident: one path must fit both")
    connection.condition(etag, now.version, one.id)
    return ""


async def _comments(looks: _Looks) -> str:
    some = looks.incidents[:5]
    found = await comments.read(looks.connection, some, frozenset()) if some else []
    return f"{len(found)} comments of {len(some)} incidents" if some else ""


async def _key(looks: _Looks) -> str:
    """A key that nobody has must find nothing: a search that ignores it would read everything."""
    connection = looks.connection
    if not connection.form.find_path:
        return "no field for our key: a create whose answer is lost waits for a person"
    async for _ in connection.all(connection.form.find_path, connection.form.items, {"key": _NOBODYS}):
        raise Misconfigured("its search by a key that nobody has finds incidents: look at `find_path`")
    return ""
