"""XSOAR's query language, and what its errors and its answers to writes mean. No I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from blocks.answers import About
from blocks.errors import LockstepError, Misconfigured, NotFound, Partial, Refused, Stale, Unreadable
from blocks.model import Fields, Incident

_STALE: Final = re.compile(r"DB Version .{0,40} and Insert version|Optimistic lock", re.IGNORECASE)
_ABSENT: Final = re.compile(r"(could not|cannot) (find|load)|not found", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLOSING: Final = re.compile(r"(?<![\w.])(status|closed|closeReason|closeNotes)\s*:", re.IGNORECASE)


def quoted(value: str) -> str:
    """A value as a query takes it, whatever it holds."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def moment(at: datetime) -> str:
    """A time in a query, in whole seconds: what XSOAR makes of fractions is not documented."""
    return quoted(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def both(*parts: str) -> str:
    """All of these conditions."""
    return " and ".join(f"({part})" for part in parts if part)


def wrong(query: str) -> str:
    """Why a person's query cannot stand among other conditions, or empty."""
    bare, depth = _QUOTED.sub('""', query), 0
    if not bare.strip():
        return "it is empty"
    if bare.count('"') % 2:
        return "a quotation mark is open"
    for sign in bare:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
    return "its parentheses do not match" if depth else ""


def scope_wrong(query: str) -> str:
    """Why a query cannot be a scope, or empty."""
    if _CLOSING.search(_QUOTED.sub('""', query)):
        return "what closes would leave it, and the close never arrive; filter by status in the mirror's intake instead"
    return wrong(query)


def meant(error: LockstepError, sent: Fields) -> LockstepError:
    """An error's meaning here. XSOAR says with 400 that a record is stale or not there."""
    about = About(system=error.system, call=error.call, id=error.id)
    if error.status == 303:  # noqa: PLR2004  the cloud's answer to a route that its API lacks
        message = "the server has no such route: on 8 the address begins with https://api-, and key_id is set"
        return Misconfigured(message, **about)
    if error.status == 400 and _STALE.search(error.message):  # noqa: PLR2004
        return Stale(error.message, **about)
    if error.id and error.status in {400, 500} and _ABSENT.search(error.message):
        return NotFound(error.message, **about)
    if isinstance(error, Refused):
        named = {key: error.message for key in sent if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", error.message)}
        return Refused(error.message, fields=named or dict.fromkeys(sent, error.message), **about)
    if isinstance(error, Unreadable) and "text/html" in error.message:
        return Unreadable(f"{error.message}: it is a page for people; look at the path in the address", **about)
    return error


def taken(before: Incident, patch: Fields, shown: Incident, system: str) -> None:
    """See that a write did what it answered. Refused, Partial: what still shows its old value was ignored."""
    old, new = before.fields, shown.fields
    ignored = [key for key, value in patch.items() if new.get(key) != value and new.get(key) == old.get(key)]
    if not ignored:
        return
    reasons = {key: f"{key}: the server answered well, and left it as it is" for key in ignored}
    if "status" in reasons and patch["status"] not in ("2", "3"):
        reasons["status"] = "status: this server does not reopen through its API: reopen it there"
    message, about = "; ".join(reasons.values()), About(system=system, call="POST incident", id=shown.id)
    if len(ignored) == len(patch):
        raise Refused(message, fields=reasons, **about)
    raise Partial(message, incident=shown, fields=reasons, **about)
