"""Send: the remote writes of a batch. Outcomes are kept in memory until one commit records them all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from blocks.errors import (
    LockstepError,
    Misconfigured,
    NotFound,
    Partial,
    Refused,
    Stale,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from blocks.model import Incident
from blocks.points import at
from blocks.store.entries import content_of
from blocks.store.links import Row
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.settle import outgoing


@dataclass(slots=True)
class Sending:
    """One link's writes, in order, and what became of them.

    An intent is in exactly one of: answered, refused, unsent (certainly not taken: it is forgotten), or none of them
    (it may have been taken: it stays until it is settled).
    """

    link: Row
    owed: Sequence[Row]
    intents: list[Row] = field(default_factory=list)
    answered: list[Row] = field(default_factory=list)
    refused: list[tuple[Row, Refused]] = field(default_factory=list)
    unsent: list[Row] = field(default_factory=list)
    entries: list[tuple[Row, str]] = field(default_factory=list)
    created: Incident | None = None
    shown: Incident | None = None
    reread: bool = False
    missing: bool = False


@dataclass(slots=True)
class _Stop:
    """The first error after which the rest of this system waits."""

    error: LockstepError | None = None


async def send(m: Mirroring, sendings: Sequence[Sending]) -> LockstepError | None:
    """Send all; answers the error that stopped the rest, if any."""
    gate, stop = asyncio.Semaphore(m.parallel), _Stop()
    await asyncio.gather(*(_link(m, gate, stop, one) for one in sendings))
    return stop.error


async def _link(m: Mirroring, gate: asyncio.Semaphore, stop: _Stop, one: Sending) -> None:
    async with gate:
        for number, intent in enumerate(one.intents):
            if stop.error is not None:
                one.unsent += one.intents[number:]
                return
            if not await _one(m, stop, one, intent):
                one.unsent += one.intents[number + 1 :]
                return


async def _one(m: Mirroring, stop: _Stop, one: Sending, intent: Row) -> bool:
    """Send one write; answers whether the next of this incident may follow."""
    try:
        await _write(m, one, intent)
    except Refused as error:
        one.refused.append((intent, error))
        if isinstance(error, Partial):
            one.shown = error.incident
        return True
    except (Stale, NotFound) as error:
        one.unsent.append(intent)
        if isinstance(error, Stale):
            await _read_again(m, stop, one)
        else:
            one.missing = intent["verb"] != "create"
    except (Unavailable, Unauthorized, Misconfigured, Unreadable) as error:
        stop.error = stop.error or error
        # An answer that did not come, or cannot be read: the write may have been taken all the same.
        if not (isinstance(error, Unreadable) or (isinstance(error, Unavailable) and error.sent)):
            one.unsent.append(intent)
    else:
        one.answered.append(intent)
        return True
    return False


async def _write(m: Mirroring, one: Sending, intent: Row) -> None:
    match intent["verb"]:
        case "create":
            one.created = await at("create", m.system.create(intent["patch"], intent["key"]))
        case "update":
            one.shown = await at("update", m.system.update(_current(m, one), intent["patch"]))
        case _:
            entry = next(row for row in one.owed if row["id"] == intent["entry_id"])
            data = await content_of(m.database, entry["id"]) if entry["kind"] == "file" else None
            sent = outgoing(entry, one.link["remote_id"], data)
            added = await at("add_entry", m.system.add_entry(_current(m, one), sent, intent["key"]))
            one.entries.append((intent, added))


def _current(m: Mirroring, one: Sending) -> Incident:
    """The incident as we last saw it."""
    if one.shown is not None:
        return one.shown
    link = one.link
    return Incident(link["remote_id"], link["seen_version"] or "", m.now(), link["seen"] or {})


async def _read_again(m: Mirroring, stop: _Stop, one: Sending) -> None:
    try:
        one.shown = await at("get", m.system.get(one.link["remote_id"]))
        one.reread = True
    except NotFound:
        one.missing = True
    except (Unavailable, Unauthorized, Misconfigured, Unreadable) as error:
        stop.error = stop.error or error
