"""A person authorises a grant: with a code that they type in elsewhere, or with a browser on this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable, Unreadable
from blocks.oauth.answers import Reply, pair_of, refusal
from blocks.oauth.endpoint import Endpoint
from blocks.oauth.grant import Grant
from blocks.oauth.kinds import AuthorizationCode, Refreshing
from blocks.oauth.pairs import Pair
from blocks.oauth.redirect import Answered, listening
from blocks.oauth.wire import post
from blocks.ratelimit import Clock

LONGEST: Final = 1800.0
"""Seconds that a person has at most."""

_SLOWER: Final = 5.0
_LONG: Final = 2000
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person needs: a link, for a device code also the code to type in; `seconds` that they have.

    `answer` waits for them, and answers the tokens.
    """

    link: str
    code: str
    seconds: float
    answer: Callable[[], Coroutine[Any, Any, Pair]] = field(repr=False)


@asynccontextmanager
async def asking(grant: Grant, clock: Clock | None = None) -> AsyncIterator[Asked]:
    """Begin to ask a person for this grant.

    Raises:
        Misconfigured: its kind, or its vendor, needs nobody's consent.
    """
    clock, endpoint = clock or Clock(), grant.endpoint().checked(grant.grant_name)
    if isinstance(grant, AuthorizationCode) and endpoint.authorize_url:
        async with _with_browser(grant, endpoint, clock) as asked:
            yield asked
    elif isinstance(grant, Refreshing) and endpoint.device_url:
        yield await _with_code(grant, endpoint, clock)
    else:
        raise Misconfigured(f"there is nothing to authorise: {grant.cure}", system=grant.grant_name, call="authorise")


async def _with_code(grant: Grant, endpoint: Endpoint, clock: Clock) -> Asked:
    """RFC 8628 §3.1 and §3.2."""
    form = {**endpoint.parameters, **_scope(endpoint)}
    reply = await post(grant.grant_name, endpoint, endpoint.device_url, grant.identify(clock.now()), form, clock)
    if not reply.ok:
        raise refusal(reply)
    data = reply.payload or {}
    device, code = _text(data, "device_code"), _text(data, "user_code")
    link = _text(data, "verification_uri") or _text(data, "verification_url")
    if not device or not code or httpx.URL(link).scheme not in {"http", "https"}:
        raise Unreadable("the answer has no device code, user code or link", **reply.about)
    seconds = min(_number(data, "expires_in", 900.0), LONGEST)
    every = min(_number(data, "interval", _SLOWER), 60.0)
    deadline = clock.monotonic() + seconds
    return Asked(link, code, seconds, lambda: _poll(grant, endpoint, device, every, deadline, clock))


async def _poll(grant: Grant, endpoint: Endpoint, device: str, every: float, deadline: float, clock: Clock) -> Pair:
    """RFC 8628 §3.4 and §3.5: `slow_down` adds 5 s for good, a lost connection doubles the wait."""
    form = {"grant_type": _DEVICE, "device_code": device, **endpoint.parameters}
    while clock.monotonic() + every < deadline:
        await clock.sleep(every)
        begun = clock.now()
        try:
            reply = await post(grant.grant_name, endpoint, endpoint.token_url, grant.identify(clock.now()), form, clock)
        except Unavailable:
            every = min(every * 2, 60.0)
            continue
        if reply.ok:
            return pair_of(reply, None, begun, endpoint.lifetime, endpoint.refresh_days)
        if reply.code == "slow_down":
            every += _SLOWER
        elif reply.code == "expired_token":
            break
        elif not isinstance(error := _final(reply), Unavailable):
            raise error
    raise Unauthorized(
        "nobody typed the code in in time: run authorize again", system=grant.grant_name, call="authorise"
    )


def _final(reply: Reply) -> LockstepError:
    if reply.code == "access_denied":
        return Unauthorized("the person, or the vendor, refused", **reply.about)
    return refusal(reply)


@asynccontextmanager
async def _with_browser(grant: AuthorizationCode, endpoint: Endpoint, clock: Clock) -> AsyncIterator[Asked]:
    """RFC 6749 §4.1 with PKCE (RFC 7636); the browser comes back to this machine (RFC 8252 §7.3)."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    async with listening(grant.grant_name, grant.redirect_port, state, endpoint.issuer) as (address, answered):
        asked = {
            **endpoint.parameters,
            **_scope(endpoint),
            "response_type": "code",
            "client_id": grant.client_id,
            "redirect_uri": address,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        link = str(httpx.URL(endpoint.authorize_url).copy_merge_params(asked))
        yield Asked(link, "", LONGEST, lambda: _exchange(grant, endpoint, address, verifier, answered, clock))


async def _exchange(
    grant: Grant, endpoint: Endpoint, address: str, verifier: str, answered: Answered, clock: Clock
) -> Pair:
    try:
        async with asyncio.timeout(LONGEST):
            code = await answered()
    except TimeoutError:
        message = "nobody came back from the link in time: run authorize again"
        raise Unauthorized(message, system=grant.grant_name, call="authorise") from None
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": address, "code_verifier": verifier}
    begun = clock.now()
    identity = grant.identify(clock.now())
    reply = await post(grant.grant_name, endpoint, endpoint.token_url, identity, {**form, **endpoint.parameters}, clock)
    if not reply.ok:
        raise refusal(reply)
    return pair_of(reply, None, begun, endpoint.lifetime, endpoint.refresh_days)


def _scope(endpoint: Endpoint) -> Mapping[str, str]:
    return {"scope": endpoint.scope} if endpoint.scope else {}


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) and len(value) <= _LONG and value.isprintable() else ""


def _number(data: Mapping[str, object], name: str, default: float) -> float:
    value = data.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else default
