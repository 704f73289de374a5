"""What all kinds of grants share: whose tokens they are, what is presented, and one request that redeems it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

import httpx
from prefect.blocks.core import Block
from pydantic import Field

from blocks.errors import Misconfigured
from blocks.oauth.answers import Reply, pair_of, refusal
from blocks.oauth.auth import TokenAuth
from blocks.oauth.endpoint import Endpoint, Identity
from blocks.oauth.pairs import Pair, fingerprint, mark
from blocks.oauth.wire import post
from blocks.ratelimit import Clock

SKEWED: Final = 20.0
"""Seconds between the vendor's clock and ours, beyond which an assertion is signed again by the vendor's."""


class Grant(Block, ABC):
    """What all kinds share. A vendor's block says `endpoint()`; `auth()` is for its `Http`."""

    rotates: ClassVar[bool] = False
    """Whether its refresh token works once, so that each redemption needs a note and its answer must not be lost."""

    signs: ClassVar[bool] = False
    """Whether what it sends is signed, with a time."""

    cure: ClassVar[str] = "look at the client's settings here and at the vendor"
    """What a person does when the vendor does not take it."""

    client_id: str = Field(description="The client's id, as the vendor shows it.")

    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where this vendor gives tokens, and its ways."""

    @abstractmethod
    def presents(self, pair: Pair | None, now: float) -> Mapping[str, str]:
        """The parameters that are the grant. GrantEnded: there is nothing to present."""

    async def redeem(self, pair: Pair | None, clock: Clock) -> Pair:
        """New tokens from the vendor. Raises as `answers.refusal` says.

        One request; a signed one that was refused is signed again, once, where the vendor's clock is another.
        """
        endpoint, begun = self.endpoint(), clock.now()
        reply = await self._asked(endpoint, pair, begun, clock)
        if not reply.ok and self.signs and abs(reply.skew) > SKEWED:
            reply = await self._asked(endpoint, pair, clock.now() + reply.skew, clock)
        if not reply.ok:
            raise refusal(reply)
        return pair_of(reply, pair, begun, endpoint.lifetime, endpoint.refresh_days)

    async def _asked(self, endpoint: Endpoint, pair: Pair | None, now: float, clock: Clock) -> Reply:
        # A refresh keeps its scope: one that is named must not be wider (RFC 6749 §6).
        scope = {} if self.rotates or not endpoint.scope else {"scope": endpoint.scope}
        form = {**self.presents(pair, now), **endpoint.parameters, **scope}
        identity = await asyncio.to_thread(self.identify, now)
        return await post(self.grant_name, endpoint, endpoint.token_url, identity, form, clock)

    def auth(self) -> httpx.Auth:
        """For `Http(auth=…)`: puts a token into each request, and renews it for all processes once. To be called
        within the event loop that sends.
        """
        return TokenAuth(self)

    def identify(self, now: float) -> Identity:  # noqa: ARG002  a signed assertion has a time
        """How the client says who it is; here: by its id alone."""
        return Identity({"client_id": self.client_id})

    @property
    def grant_name(self) -> str:
        """The block as type/name. Misconfigured: it was not saved, so that nobody could find its token."""
        name = self._block_document_name
        if not name:
            raise Misconfigured("save the block under a name first: its token is kept under it", call="token")
        return f"{self.get_block_type_slug()}/{name}"

    @property
    def about(self) -> str:
        """Whose tokens these are: other settings have others."""
        endpoint = self.endpoint()
        # A refresh token stays what it is when its client wants other scopes: a person decides that by authorising.
        wishes = () if self.rotates else (endpoint.scope, *sorted(f"{k}={v}" for k, v in endpoint.parameters.items()))
        return fingerprint(endpoint.token_url, self.client_id, *wishes)

    @property
    def typed(self) -> str:
        """The refresh token that a person typed in, for the kind that has one."""
        return ""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The secrets, keys and certificates that a person typed in."""
        return ()

    @property
    def seed(self) -> str:
        """The mark of what begins it, where that is typed into the form; empty where a person's consent begins it."""
        return mark(self.typed) if self.rotates else mark("\0".join((self.about, *self.credentials)))
