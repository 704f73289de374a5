"""Talks to a token endpoint: one request, never repeated here, and its answer, whatever its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import orjson

from blocks.answers import Where
from blocks.errors import LockstepError
from blocks.http import Http
from blocks.oauth.answers import Reply
from blocks.oauth.endpoint import Endpoint, Identity
from blocks.ratelimit import Clock, retry_after
from blocks.redaction import credentials

TIMEOUT: Final = 15.0
"""Seconds for connecting, and for each wait."""
TOTAL: Final = 20.0
"""Seconds for a whole exchange: after them, and some for the way, no request of a dead process arrives any more."""
_LARGEST: Final = 1024 * 1024


class _Endpoint(Http):
    """A client to which each answer is one: a token endpoint's 400 says in its body what is wrong."""

    async def _unwanted(self, response: httpx.Response, id: str) -> httpx.Response | LockstepError:
        if response.status_code < httpx.codes.BAD_REQUEST:
            return await super()._unwanted(response, id)
        await self._read(response)
        return response


async def post(
    system: str, endpoint: Endpoint, url: str, identity: Identity, form: Mapping[str, str], clock: Clock
) -> Reply:
    """Send a form and read the answer; `identity` goes with it.

    Raises:
        Unavailable: there was no answer; `sent` tells whether the request may have arrived.
        Unauthorized: the server's certificate is not trusted.
        Misconfigured: the address is wrong, or has moved.
    """
    endpoint.checked(system)
    sent = {**form, **identity.form}
    where: dict[str, Any] = {"params": sent} if endpoint.client_in == "query" else {"data": sent}
    client = _Endpoint(
        system,
        url,
        ca_file=endpoint.ca_file,
        timeout=TIMEOUT,
        total=TOTAL,
        max_bytes=_LARGEST,
        transport=identity.transport,
        clock=clock,
    )
    async with client:
        # Some refuse an empty body whose length they are not told.
        response = await client.call("POST", url, headers=dict(identity.headers), **where)
        return _reply(response, system, client.skew.total_seconds(), clock)


def _reply(response: httpx.Response, system: str, skew: float, clock: Clock) -> Reply:
    try:
        payload = orjson.loads(response.content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        payload = None  # what was caught holds the content
    return Reply(
        status=response.status_code,
        payload=payload if isinstance(payload, dict) else None,
        kind=response.headers.get("content-type", "no content type").partition(";")[0],
        wait=retry_after(response.headers.get("retry-after"), clock.now() + skew),
        about=Where.of(system, response.request).kwargs(),
        secrets=frozenset(credentials(response.request)),
        skew=skew,
    )
