"""Roundup's queries, limits and errors, and what a person can do about these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from blocks.errors import LockstepError, Misconfigured, Refused, Unreadable
from blocks.http import RateLimit
from blocks.incidents import _roundup as records
from blocks.model import Fields, Finding

if TYPE_CHECKING:
    from blocks.incidents._roundup_calls import Tracker

_PROPERTY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*[:~]?")


class Quota(RateLimit):
    """Roundup lets one request in again each period / limit seconds; its Reset tells when all of them are back."""

    def read(self, headers: Mapping[str, str], now: float) -> tuple[int, float] | None:  # noqa: ARG002  as the base
        """(requests that remain, seconds until one more), or None where headers do not say."""
        try:
            limit, period = float(headers["X-RateLimit-Limit"]), float(headers["X-RateLimit-Limit-Period"])
            return int(headers[self.remaining]), period / limit
        except (KeyError, ValueError, ZeroDivisionError):
            return None


LIMITS: Final = Quota()


def query(words: str, system: str) -> list[tuple[str, str]]:
    """`status=chatting&priority=bug`, as in the address of Roundup's own search. Refused if it is anything else."""
    try:
        pairs = parse_qsl(words, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = []
    for name, value in pairs:
        if not _PROPERTY.fullmatch(name) or name.rstrip(":~") == "id" or not value:
            pairs = []
            break
    if not pairs:
        message = f"not a query of Roundup (property=value&property=value): {words[:100]!r}"
        raise Refused(message, fields={"query": message}, system=system)
    return pairs


def blamed(message: str, sent: Fields) -> dict[str, str]:
    """Which of the fields sent an error is about: the one that it names, else all of them."""
    named = re.search(r"[Pp]roperty \"?(\w+)", message) or re.match(
        r"answered \d+: (?:\w+: )?(\w+) has no node", message
    )
    of = {records.CLASSES.get(prop, prop): prop for prop in sent}
    name = named and of.get(named[1], named[1])
    return {prop: message for prop in sent if name in (None, prop)} or dict.fromkeys(sent, message)


def advice(error: LockstepError) -> str:
    """What went wrong in a check, and what to do."""
    words = {401: "look at login and password", 403: "give this login the permission Rest Access and View on it"}
    words |= {404: "no tracker answers there: the address is the tracker's, not the server's"}
    if isinstance(error, Unreadable):
        return f"{error.message}: no tracker's REST interface answers at this address"
    return ": ".join(part for part in (error.message, words.get(error.status, "")) if part)


async def findings(tracker: Tracker) -> list[Finding]:
    """A check's lines, up to the first that is wrong. Whether the login may write is seen at the first write only."""
    done: list[Finding] = []
    looks = {"login": _login, "properties": _properties, "keys": _keys, "time zone": _time_zone}
    for what, look in looks.items():
        try:
            await look(tracker)
        except LockstepError as error:
            return [*done, Finding(what, ok=False, detail=advice(error))]
        done.append(Finding(what, ok=True))
    return done


async def _login(tracker: Tracker) -> None:
    rows, _ = await tracker.search("user", ("username:", tracker.login), ("@fields", "username"))
    if not rows:
        message = "this login may not see its own account, which each message names as its author"
        raise Misconfigured(message, system=tracker.system)


async def _properties(tracker: Tracker) -> None:
    await tracker.search("issue", ("id", 0), *tracker.shown)


async def _keys(tracker: Tracker) -> None:
    await tracker.search("msg", ("messageid:", records.KEY), ("@fields", records.ENTRY_FIELDS["msg"]))


async def _time_zone(tracker: Tracker) -> None:
    """Any issue must be found by its own time."""
    rows, _ = await tracker.search("issue", ("@page_size", 1))
    for row in rows:
        one = ("id", str(row["id"]))
        for now in [tracker.issue(raw) for raw in (await tracker.search("issue", one, *tracker.shown))[0]]:
            span = records.span(now.updated, now.updated + timedelta(seconds=1))
            there, _ = await tracker.search("issue", one, ("activity", span))
            again, _ = await tracker.search("issue", one, *tracker.shown)
            if not there and [tracker.issue(raw) for raw in again] == [now]:
                message = "a search by time misses what is there: set this login's time zone to UTC in Roundup"
                raise Misconfigured(message, system=tracker.system, id=now.id)
