"""Grants as people see them: which are healthy, when each ends, which need somebody; and their daily care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx
from prefect.blocks.core import Block, UnknownBlockType
from prefect.exceptions import PrefectException

from blocks.errors import Busy, LockLost, LockstepError, Misconfigured, NotFound, Unavailable
from blocks.oauth import Grant, journal, people
from blocks.oauth.consent import Asked
from blocks.oauth.custody import forget
from blocks.oauth.pairs import Held, Pair
from blocks.oauth.refresh import renew
from blocks.ratelimit import Clock
from blocks.store import Database
from tasks.markdown import link, table, text
from tasks.reports import moment
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
    """The block of this name.

    Raises:
        NotFound: there is none.
        Misconfigured: that is no name; the block has no grant, or cannot be loaded.
        Unavailable: Prefect's server does not answer.
    """
    given = name.strip()
    message = f"there is no block '{given}': give it as type/name, as its page under Blocks shows it"
    if given.count("/") != 1:
        raise Misconfigured(message, call="grant")
    failure: LockstepError
    try:
        block: object = await Block.aload(given)
    except ValueError:
        failure = NotFound(message, call="grant")
    except (UnknownBlockType, KeyError):
        failure = Misconfigured(f"the kind of '{given}' is unknown to this worker: update the worker", call="grant")
    except RuntimeError:
        # Its cause shows what is in the form.
        failure = Misconfigured(f"the form of '{given}' is no longer whole: fill it in and save it again", call="grant")
    except (httpx.HTTPError, PrefectException) as error:
        kind = type(error).__name__
        failure = Unavailable(f"Prefect's server does not answer ({kind})", sent=False, call="grant")
    else:
        if isinstance(block, Grant):
            return block
        failure = Misconfigured(f"'{given}' needs no grant: it has a login of its own", call="grant")
    raise failure


async def revoked(database: Database, name: str) -> str:
    """Revoke a grant, or forget one whose block is gone; what was done, in words. Raises as `grant_of` and `revoke`."""
    try:
        grant = await grant_of(name)
    except NotFound:
        if not await forget(database, name.strip()):
            raise
        words = "its block is gone, so that its vendor could not be asked: remove the client's access there"
        return f"{name.strip()} is forgotten here; {words}"
    words = await people.revoke(database, grant)
    return f"{grant.grant_name} is forgotten here; {words}"


def is_due(pair: Pair, now: float) -> bool:
    """Whether a refresh token has lived half of its life unused, so that it is renewed before it dies of age."""
    life = pair.ages - pair.refreshed if pair.ages else UNKNOWN_AGE
    return bool(pair.refresh) and now >= pair.refreshed + life / 2


async def care(database: Database, clock: Clock | None = None) -> list[Health]:
    """Renew what would die of age; how all grants are. One that fails keeps no other from it."""
    clock = clock or Clock()
    found = [await _cared(database, name, clock) for name in await journal.names(database)]
    return sorted(filter(None, found), key=lambda one: (not one.person, one.name))


async def _cared(database: Database, name: str, clock: Clock) -> Health | None:
    """How one is. None: it was forgotten meanwhile."""
    held = Held()
    try:
        entry = await journal.read(database, name)
        if entry is None:
            return None
        held = entry.held
        if held.state == "revoked":
            return Health(name, "revoked here")
        held = await _renewed(database, await grant_of(name), held, clock)
    except _LATER as error:
        return Health(name, f"could not be renewed yet: {error.message}", *_times(held.pair), kind=type(error).__name__)
    except NotFound as error:
        words = "there is no block of this name any more: if that is for good, run the deployment revoke with it"
        return await _in_need(database, name, held, error, f"{words}, and it is forgotten")
    except LockstepError as error:
        return await _in_need(database, name, held, error, error.message)
    if entry.told:
        await journal.told(database, name, "")
    return Health(name, "healthy" if held.pair else "not authorised yet", *_times(held.pair))


async def _renewed(database: Database, grant: Grant, held: Held, clock: Clock) -> Held:
    # One that is over is asked too: it says so in words, and a newly typed token begins it anew.
    if held.state in {"lost", "ended"} or (grant.rotates and held.pair and is_due(held.pair, clock.now())):
        return await renew(database, grant, held.pair.access if held.pair else "", clock=clock)
    return held


async def _in_need(database: Database, name: str, held: Held, error: LockstepError, words: str) -> Health:
    kind = type(error).__name__
    # As it is now: that it ended was kept as a generation of its own.
    generation, told = await journal.head(database, name)
    mark = f"{kind} {generation}"
    if told != mark:
        await journal.told(database, name, mark)
    return Health(name, words, *_times(held.pair), kind=kind, person=True, new=told != mark)


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
        ("✗" if one.person else "…" if one.kind else "✓", text(one.name), text(one.words, 500), _at(one.expires),
         _at(one.ages))
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


def _at(seconds: float) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC) if seconds else None)
