"""What a person does with a grant: authorise it, and revoke it; under the same lock as a refresh."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from blocks.errors import LockstepError, Unavailable
from blocks.oauth.answers import refusal
from blocks.oauth.custody import Custody, custody
from blocks.oauth.grant import Grant
from blocks.oauth.pairs import Held, Pair, suited
from blocks.oauth.wire import post
from blocks.points import at
from blocks.ratelimit import Clock
from blocks.store import Database

_keeping: set[asyncio.Task[Held]] = set()


async def adopt(database: Database, grant: Grant, pair: Pair) -> Held:
    """Keep what a person authorised, as the next generation. Raises as `refresh.renew`."""

    async def keep() -> Held:
        async with custody(database, grant.grant_name) as mine:
            await mine.agree()
            return await mine.keep(replace(_suited(mine, grant), state="granted", about=grant.about, pair=pair))

    # These tokens are nowhere else: a run that is cancelled now has them kept all the same.
    keeping = asyncio.get_running_loop().create_task(keep())
    _keeping.add(keeping)
    keeping.add_done_callback(_keeping.discard)
    return await asyncio.shield(keeping)


async def revoke(database: Database, grant: Grant, clock: Clock | None = None) -> str:
    """Have the vendor revoke a grant, where it can (RFC 7009), and forget it; answers what the vendor did, in words.

    It stays revoked until a person authorises it anew, or types new credentials into its block.

    Raises:
        Unavailable: the vendor did not answer: nothing is forgotten, try again.
    """
    async with custody(database, grant.grant_name) as mine:
        await mine.agree()
        words = await _revoked(grant, mine.held.pair, clock or Clock())
        await mine.lock.check()
        await mine.keep(replace(_suited(mine, grant), state="revoked", about=grant.about, pair=None))
        return words


async def allow(database: Database, grant: Grant) -> bool:
    """Allow again what was revoked here and needs no consent at the vendor; whether it was so. Raises as `adopt`."""
    if grant.rotates:
        return False
    async with custody(database, grant.grant_name) as mine:
        await mine.agree()
        held = _suited(mine, grant)
        if held.state == "revoked":
            await mine.keep(replace(held, state="new", about=grant.about))
        return held.state == "revoked"


def _suited(mine: Custody, grant: Grant) -> Held:
    return suited(mine.held, grant.about, grant.seed, grant.typed)


async def _revoked(grant: Grant, pair: Pair | None, clock: Clock) -> str:
    endpoint = grant.endpoint()
    if not endpoint.revoke_url:
        return "this vendor has no way to revoke: remove the client's access there"
    if pair is None:
        return "there was nothing to revoke"
    # With a refresh token, the access tokens that came of it go too (RFC 7009 §2.1).
    hint, token = ("refresh_token", pair.refresh) if pair.refresh else ("access_token", pair.access)
    form = {"token": token, "token_type_hint": hint}
    identity = await asyncio.to_thread(grant.identify, clock.now())
    reply = await at("revoke", post(grant.grant_name, endpoint, endpoint.revoke_url, identity, form, clock))
    if reply.status < 300 and not reply.code:  # noqa: PLR2004  HTTP's; the body means nothing
        return "the vendor revoked it"
    error: LockstepError = refusal(reply)
    if isinstance(error, Unavailable):
        raise error
    return f"the vendor did not revoke it: {error.message}"
