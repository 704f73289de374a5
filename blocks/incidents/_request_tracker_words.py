"""RT's query language, and what a person can do about its errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from blocks.errors import LockstepError, Misconfigured, Refused, Unreadable
from blocks.model import Fields, Finding

if TYPE_CHECKING:
    from blocks.incidents._request_tracker_calls import Tracker

_ID: Final = re.compile(r"[1-9][0-9]{0,17}")
_TOKEN: Final = re.compile(
    r"""\s+|(?P<open>\()|(?P<close>\))|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\w+\.\{[^{}'"\\]+\}|[\w.]+|[<>!=]+|-\d+""",
    re.DOTALL,
)
_COLUMN: Final = re.compile(r"CF\.", re.IGNORECASE)


def is_column(value: str) -> bool:
    """Whether RT reads this value as the name of a custom field, quotes or not."""
    return _COLUMN.match(value) is not None


def quoted(value: str) -> str:
    """A value in a query. ValueError: RT reads it as a column."""
    if is_column(value):
        message = "begins with CF."
        raise ValueError(message)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def is_id(text: str) -> bool:
    """Whether this can be a record's number."""
    return _ID.fullmatch(text) is not None


def any_of(column: str, ids: Iterable[str]) -> str:
    """A condition for any of these numbers, in brackets; RT has no IN. ValueError: one is no number."""
    numbers = list(ids)
    if not numbers or not all(map(is_id, numbers)):
        message = f"no numbers: {numbers!r}"[:100]
        raise ValueError(message)
    return f"({' OR '.join(f'{column} = {number}' for number in numbers)})"


def chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Ids, so many at a time."""
    for begin in range(0, len(ids), size):
        yield ids[begin : begin + size]


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def checked(query: str, system: str) -> str:
    """A query that may stand in brackets beside others. Refused: it would reach out of them, or is none.

    RT passes over signs that it does not know; they are refused here.
    """
    depth, at = 0, 0
    while depth >= 0 and (found := _TOKEN.match(query, at)):
        at = found.end()
        depth += bool(found["open"]) - bool(found["close"])
    if depth or at < len(query) or not query.strip():
        message = f"not a query of RT (Status = 'open' AND Subject LIKE 'x'): {query[:100]!r}"
        raise Refused(message, fields={"query": message}, system=system)
    return query


def blamed(message: str, sent: Fields) -> dict[str, str]:
    """Which of the fields sent an error is about: those that it names or quotes, else all of them."""
    named = {name for name in sent if re.search(rf"\b{re.escape(name)}\b", message)}
    return dict.fromkeys(named or sent, message)


_ADVICE: Final = {
    401: "look at login and password",
    403: "give this login the right to see the queue, and look at the queue's name",
    404: "no REST 2 interface answers there: the address is RT's own (https://host/ or https://host/rt/)",
}


def advice(error: LockstepError) -> str:
    """What went wrong in a check, and what to do."""
    if isinstance(error, Unreadable) or (isinstance(error, Misconfigured) and error.status):
        return f"{error.message}: {_ADVICE[404]}"
    return ": ".join(part for part in (error.message, _ADVICE.get(error.status, "")) if part)


async def findings(tracker: Tracker, severity: str) -> list[Finding]:
    """A check's lines, up to the first that is wrong."""
    done: list[Finding] = []
    looks = {"address and login": _login, "queue": _queue, "custom fields": _fields, "reading": _reading}
    raw: Any = None
    for what, look in looks.items():
        try:
            raw = await look(tracker, severity, raw)
        except LockstepError as error:
            return [*done, Finding(what, ok=False, detail=advice(error))]
        done.append(Finding(what, ok=True))
    return [*done, _writing(raw)]


async def _login(tracker: Tracker, _severity: str, _raw: Any) -> Any:  # noqa: ANN401  JSON
    raw = await tracker.http.json("GET", "rt")
    if not isinstance(raw, dict) or "Version" not in raw:
        message = "the answer does not tell RT's version"
        raise Unreadable(message, system=tracker.system)
    return raw


async def _queue(tracker: Tracker, _severity: str, _raw: Any) -> Any:  # noqa: ANN401  JSON
    raw = await tracker.http.json("GET", f"queue/{segment(tracker.queue)}")
    if not isinstance(raw, dict) or str(raw.get("Name")).casefold() != tracker.queue.casefold():
        message = f"no queue is named {tracker.queue!r}: give its name, not its number"
        raise Misconfigured(message, system=tracker.system)
    if str(raw.get("Disabled")) == "1":
        message = f"the queue {tracker.queue!r} is disabled in RT"
        raise Misconfigured(message, system=tracker.system)
    return raw


async def _fields(tracker: Tracker, severity: str, raw: Any) -> Any:  # noqa: ANN401  JSON
    wanted = {
        "TicketCustomFields": [name for name in (tracker.key_field, severity) if name],
        "TicketTransactionCustomFields": [name for name in (tracker.entry_field,) if name],
    }
    for of, names in wanted.items():
        there = {one.get("name") for one in raw.get(of) or ()}
        missing = [name for name in names if name not in there]
        if missing:
            kind = "transactions" if "Transaction" in of else "tickets"
            message = (
                f"{', '.join(missing)}: no such custom field for {kind} of this queue, or this login may not see it "
                "(right SeeCustomField): create it in RT and apply it to the queue, or change the setting"
            )
            raise Misconfigured(message, system=tracker.system)
    return raw


async def _reading(tracker: Tracker, _severity: str, raw: Any) -> Any:  # noqa: ANN401  JSON
    await tracker.search("tickets", tracker.scope, per_page="1")
    query = f"ObjectType = 'RT::Ticket' AND TicketQueue = {quoted(tracker.queue)}"
    await tracker.search("transactions", query, per_page="1")
    await tracker.attachments([{"field": "id", "value": "0"}], {})
    return raw


def _writing(queue: Any) -> Finding:  # noqa: ANN401  JSON
    """RT links what the login may do. Whether it may change a ticket is seen at the first write only."""
    links = {one.get("ref") for one in queue.get("_hyperlinks") or ()}
    missing = "" if "create" in links else "no right CreateTicket: enough for a mirror that only reads"
    return Finding("writing", ok=True, detail=missing)
