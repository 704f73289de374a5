"""Grants as people see them: which are healthy, when each ends, which need somebody; and their daily care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prefect.blocks.core import Block

from blocks.errors import Busy, LockLost, LockstepError, Misconfigured, Unavailable
from blocks.oauth import Grant, journal
from blocks.oauth.consent import Asked
from blocks.oauth.pairs import Pair
from blocks.oauth.refresh import renew
from blocks.ratelimit import Clock
from blocks.store import Database
from tasks.markdown import link, table, text
from tasks.signals import Signal

UNKNOWN_AGE: Final = 14 * 86400.0
"""Seconds that an unused refresh token is believed to live, where nobody says."""

_LATER: Final = (Unavailable, Busy, LockLost)


@dataclass(frozen=True, slots=True)
class Health:
    """How a grant is. `kind`: of the error, empty where it is healthy. `new`: nobody was told of it yet."""

    name: str
    words: str
    expires: float = 0.0
    ages: float = 0.0
    kind: str = ""
    person: bool = False
    new: bool = False


async def grant_of(name: str) -> Grant:
    """The block of this name. Misconfigured: there is none, or it has no grant."""
    given = name.strip()
    message = f"there is no block '{given}': give it as type/name, as its page under Blocks shows it"
    if given.count("/") != 1:
        raise Misconfigured(message, call="grant")
    try:
        block: object = await Block.aload(given)
    except (ValueError, KeyError):
        raise Misconfigured(message, call="grant") from None
    if not isinstance(block, Grant):
        raise Misconfigured(f"'{given}' needs no grant: it has a login of its own", call="grant")
    return block


def is_due(pair: Pair, now: float) -> bool:
    """Whether a refresh token has lived half of its life unused, so that it is renewed before it dies of age."""
    life = pair.ages - pair.refreshed if pair.ages else UNKNOWN_AGE
    return bool(pair.refresh) and now >= pair.refreshed + life / 2


async def care(database: Database, clock: Clock | None = None) -> list[Health]:
    """Renew what would die of age; how all grants are. One that fails keeps no other from it."""
    clock = clock or Clock()
    found = [await _cared(database, name, entry, clock) for name, entry in (await journal.every(database)).items()]
    return sorted(found, key=lambda one: (not one.person, one.name))


async def _cared(database: Database, name: str, entry: journal.Entry, clock: Clock) -> Health:
    held = entry.held
    if held.state == "revoked":
        return Health(name, "revoked here")
    try:
        grant = await grant_of(name)
        over = held.state in {"lost", "ended"}
        if over or (grant.rotates and held.pair and is_due(held.pair, clock.now())):
            # One that is over is asked too: it says so in words, and a newly typed token begins it anew.
            held = await renew(database, grant, held.pair.access if held.pair else "", clock=clock)
    except _LATER as error:
        return Health(name, f"could not be renewed yet: {error.message}", *_times(held.pair), kind=type(error).__name__)
    except LockstepError as error:
        kind = type(error).__name__
        mark = f"{kind} {held.generation}"
        if entry.told != mark:
            await journal.told(database, name, mark)
        return Health(name, error.message, *_times(held.pair), kind=kind, person=True, new=entry.told != mark)
    if entry.told:
        await journal.told(database, name, "")
    return Health(name, "healthy" if held.pair else "not authorised yet", *_times(held.pair))


def _times(pair: Pair | None) -> tuple[float, float]:
    return (pair.expires, pair.ages) if pair else (0.0, 0.0)


def signals(found: Sequence[Health]) -> list[Signal]:
    """What is new and needs a person."""
    return [
        Signal(
            "lockstep.attention.grant",
            f"lockstep.grant.{one.name}",
            f"grant {one.name}",
            {"grant": one.name, "kind": one.kind, "error": one.words},
        )
        for one in found
        if one.person and one.new
    ]


def summary(found: Sequence[Health]) -> str:
    """All grants in one line."""
    people, later = sum(one.person for one in found), sum(bool(one.kind) and not one.person for one in found)
    words = [f"{len(found)} grants", f"{len(found) - people - later} well"]
    words += [f"{later} to be tried again"] if later else []
    words += [f"{people} need a person"] if people else []
    return ", ".join(words)


def report(found: Sequence[Health]) -> str:
    """All grants, those that need a person first."""
    rows = [
        ("✗" if one.person else "…" if one.kind else "✓", text(one.name), text(one.words, 500), _moment(one.expires),
         _moment(one.ages))
        for one in found
    ]  # fmt: skip
    head = ("", "grant", "how it is", "its token ends", "it dies of age, if it is not used")
    return "\n".join(["# Grants", f"{summary(found)}.", "", *table(head, rows)])


def invitation(name: str, asked: Asked) -> str:
    """What a person must do to authorise a grant."""
    steps = [f"1. Open {link(asked.link, asked.link)}."]
    steps += [f"2. Type in the code **{text(asked.code)}**."] if asked.code else []
    steps += [f"{len(steps) + 1}. Sign in as the account that Lockstep is to work with, and agree."]
    minutes = f"This waits for {asked.seconds / 60:.0f} minutes."
    where = "" if asked.code else " Your browser must be on the machine that this run is on: it is sent back to it."
    return "\n".join([f"# Authorise {text(name)}", "", *steps, "", minutes + where])


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC" if seconds else "-"
