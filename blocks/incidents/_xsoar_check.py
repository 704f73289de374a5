"""What a check of an XSOAR looks at, and what a person can do about what it finds."""

from __future__ import annotations

from datetime import timedelta

from blocks.errors import LockstepError, Misconfigured
from blocks.incidents import _xsoar as records
from blocks.incidents import _xsoar_war_room as war_room
from blocks.incidents import _xsoar_words as words
from blocks.incidents._xsoar_calls import Server
from blocks.model import Finding, Incident


def advice(error: LockstepError) -> str:
    """What went wrong in a check, and what to do."""
    words = {
        401: "look at api_key and key_id, as the login is made of them; on 8 the key must be a standard one",
        403: "look at api_key; if it is right, give its role the right to read and edit incidents",
        404: "no XSOAR answers there: look at the path in the address",
    }
    return ": ".join(part for part in (error.message, words.get(error.status, "")) if part)


async def findings(server: Server) -> list[Finding]:
    """A check's lines, up to the first that is wrong. Whether the key may write is seen at the first write only."""
    done: list[Finding] = []
    looks = {"login": _login, "fields": _fields, "time": _time, "entries": _entries}
    for what, look in looks.items():
        try:
            detail = await look(server)
        except LockstepError as error:
            return [*done, Finding(what, ok=False, detail=advice(error))]
        done.append(Finding(what, ok=True, detail=detail))
    return done


async def _login(server: Server) -> str:
    await server.search(server.scope, 1)
    return ""


async def _fields(server: Server) -> str:
    missing = [name for name in server.custom if name not in (await server.kinds()).types]
    if missing:
        message = f"no incident field has the key {', '.join(missing)}: it is lower case, without spaces"
        raise Misconfigured(message, system=server.system)
    return ""


async def _newest(server: Server) -> list[Incident]:
    rows, _ = await server.search(server.scope, 20, newest=True)
    return [one for one in (records.incident(raw, server.custom) for raw in rows) if isinstance(one, Incident)]


async def _time(server: Server) -> str:
    """The newest incident must be found by its own time."""
    for one in (await _newest(server))[:1]:
        after, before = words.moment(one.updated), words.moment(one.updated + timedelta(seconds=1))
        spans = (f"{field}:>={after} and {field}:<{before}" for field in ("modified", "created"))
        rows, _ = await server.search(words.both(server.scope, " or ".join(f"({span})" for span in spans)), 100)
        if one.id not in {raw["id"] for raw in rows} and server.incident(await server.load(one.id)) == one:
            message = "a search by time misses what is there: does the server read times in UTC?"
            raise Misconfigured(message, system=server.system, id=one.id)
    return ""


async def _entries(server: Server) -> str:
    """Whether an entry counts as a change of its incident, by what the newest incidents show."""
    for one in await _newest(server):
        found = await war_room.entries(server, one, since=one.updated + timedelta(seconds=30))
        if found:
            return f"an entry is no change of its incident here, as {one.id} shows: leave ask_each on"
    return "no entry is newer than its incident: if that holds, ask_each can be off, and saves a call for each open one"
