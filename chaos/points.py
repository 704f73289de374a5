"""Every remote call and every commit of the engine, by the names under which `blocks.points` hears of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CALLS: Final = {
    "changes": "the feed's next page",
    "everything": "a full read's next page",
    "matching": "which strangers the system's own query finds",
    "get": "one incident, read again",
    "entries": "a page's new entries",
    "content": "a file's bytes",
    "create": "an incident, created in the system",
    "update": "fields, written to the system",
    "add_entry": "an entry, added in the system",
    "find": "a creation whose answer was lost, looked for",
    "find_entry": "an addition whose answer was lost, looked for",
}
"""Remote calls, as in `blocks.points.at`."""

COMMITS: Final = {
    "migrate": "the store's schema",
    "identity": "the store's own id",
    "register": "a mirror's name, bound to its system",
    "rules": "changed rules: what waits is decided again",
    "page": "a page, its entries and the cursor",
    "caught up": "the first fetch is over",
    "missing": "a record was not found",
    "asked": "what was parked is about to be read again",
    "back": "a record that was not found is there again",
    "reconcile": "what a full read found is decided again",
    "settle": "what became of writes without an answer",
    "plan": "lines of a plan",
    "release": "a plan, whole",
    "expire": "a held plan's deadline is over",
    "plan done": "a plan is at its end",
    "intents": "writes that are about to be sent",
    "answers": "what became of them",
    "trouble": "what keeps a mirror from working",
    "trouble over": "it works again",
}
"""Commits of the mirror's process, as in `Database.begin` and `Database.commit`."""

PEOPLE: Final = {
    "create": "a person's incident",
    "edit": "a person's edit",
    "comment": "a person's comment",
    "attach": "a person's file",
    "relate": "a person's relation",
    "resolve": "a person picks a conflict's side",
    "replay": "a person has what is parked tried again",
    "decision": "a person agrees to a held plan, or does not",
}
"""Commits of what people do in the store."""

CACHE: Final = {
    "cache": "a value of the integration cache, kept or forgotten",
    "rekey": "a batch of values, under a new key",
}
"""Commits that no mirror needs: their own tests die there."""

IN_FLIGHT: Final = (
    *(f"{when} {call}" for call in ("create", "update", "add_entry") for when in ("before", "after")),
    "before commit answers",
)
"""Points that lie between an intent's commit and its answer's, whatever the batch holds."""


def sides(names: Iterable[str]) -> tuple[str, ...]:
    """Before and after each of these."""
    return tuple(f"{when} {name}" for name in names for when in ("before", "after"))


MIRRORS_POINTS: Final = frozenset((*sides(CALLS), *sides(f"commit {name}" for name in COMMITS)))
PEOPLES_POINTS: Final = frozenset(sides(f"commit {name}" for name in PEOPLE))
TABLE: Final = MIRRORS_POINTS | PEOPLES_POINTS
"""Where a process dies at least once in a whole run."""
