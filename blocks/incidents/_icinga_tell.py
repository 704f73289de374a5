"""What Icinga can be told, and a person's own filter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from blocks.errors import NotFound, Refused, Stale
from blocks.incidents import _icinga as records
from blocks.incidents._icinga import HOST, OVER, SERVICE, Kind, Problem
from blocks.incidents._icinga_calls import ASK, Monitor
from blocks.model import Fields, Incident

STATUS: Final = "status"
WORDS: Final = "Somebody works on it."
"""Icinga wants a comment with each acknowledgement. It is known by its type and our name, not by these words."""
_ACTS: Final[dict[str, tuple[str, dict[str, str | bool]]]] = {
    "acknowledged": ("acknowledge-problem", {"comment": WORDS, "sticky": True, "notify": False, "persistent": False}),
    "unhandled": ("remove-acknowledgement", {}),
}
"""Status to action. Sticky: it stays when a warning becomes critical, until all is well."""


async def show(monitor: Monitor, problem: Problem) -> Incident:
    """A problem as it is now, over or not, if its object is there. NotFound."""
    return (await monitor.one(problem.name, problem.id)).incident(problem)


async def tell(monitor: Monitor, problem: Problem, before: Fields, patch: Fields) -> Incident:
    """Set the status; answers as Icinga then shows it.

    Args:
        monitor: the connection.
        problem: which one.
        before: what the writer had seen. Stale if its status is another by now.
        patch: only a status can be told. Refused names all else.
    """
    _allowed(monitor, problem, patch)
    now = await show(monitor, problem)
    shown, wanted = now.fields[STATUS], patch.get(STATUS)
    if shown != before.get(STATUS, shown):
        message = "it was changed since it was read"
        raise Stale(message, system=monitor.system, call="update", id=problem.id)
    if wanted in (None, shown):
        return now
    if shown == OVER:
        raise _refused(monitor, problem, {STATUS: "the problem is over, and only Icinga can find a new one"})
    action, said = _ACTS[str(wanted)]
    try:
        await monitor.act(action, problem.name, problem.id, **said)
    except Stale:
        # Acknowledged by another in this very moment, or well again.
        now = await show(monitor, problem)
        if now.fields[STATUS] != wanted:
            raise
        return now
    return await show(monitor, problem)


def _allowed(monitor: Monitor, problem: Problem, patch: Fields) -> None:
    wrong = {key: "Icinga finds this itself: it cannot be set" for key in patch if key != STATUS}
    if STATUS in patch and patch[STATUS] not in _ACTS:
        wrong[STATUS] = (
            f"{patch[STATUS]!r:.40} cannot be set: a problem can be acknowledged or not, and is over when well"
        )
    if wrong:
        raise _refused(monitor, problem, wrong)


def _refused(monitor: Monitor, problem: Problem, fields: Mapping[str, str]) -> Refused:
    words = "; ".join(f"{name}: {reason}" for name, reason in fields.items())
    return Refused(words, fields=fields, system=monitor.system, call="update", id=problem.id)


async def matching(monitor: Monitor, problems: Iterable[Problem], query: str) -> set[str]:
    """The ids of these whose objects a person's own filter finds. Refused: it is none.

    It is sent as it is, alone, so that nothing in it can reach beyond it. One that speaks of `service` finds no host.
    """
    wanted = {one.name: records.kind_of(one.name) for one in problems}
    if not query.strip():
        raise _no_filter(monitor, "an empty filter would find everything")
    hosts = await _names(monitor, HOST, query) if HOST in wanted.values() else set()
    if hosts is None and re.search(r"\bservice\b", query):
        hosts = set()
    services = await _names(monitor, SERVICE, query) if SERVICE in wanted.values() else set()
    if hosts is None or services is None:
        raise _no_filter(monitor, "Icinga does not take this filter")
    found = services | hosts
    return {one.id for one in problems if one.name in found}


async def _names(monitor: Monitor, kind: Kind, query: str) -> set[str] | None:
    """Names that it finds; None: it is no filter for these."""
    call, body = f"objects/{kind.path}", {"filter": query, "attrs": ["__name"]}
    try:
        answer = await monitor.http.json("POST", call, headers=ASK, json=body)
    except NotFound:
        return None
    return {str(row["name"]) for row in monitor.results(answer, f"GET {call}") if "name" in row}


def _no_filter(monitor: Monitor, words: str) -> Refused:
    return Refused(f'{words}: write it as host.vars.team == "soc"', system=monitor.system, call="matching")
