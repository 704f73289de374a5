"""The token's own block document in Prefect: written only here, so that a form and a refresh never meet in one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx
from prefect import get_client
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import Field, SecretStr

from blocks.errors import Misconfigured, Unavailable
from blocks.oauth.pairs import Held, from_json
from blocks.points import at

PATIENCE: Final = 10.0
"""Seconds that Prefect's server may take: its own client would try for minutes."""

_AWAY: Final = (httpx.HTTPError, PrefectException, OSError, RuntimeError)  # the last: a client that its run has closed
T = TypeVar("T")
log = logging.getLogger("lockstep.oauth")


class Token(Block):
    """The tokens of one grant."""

    _block_type_name = "Lockstep Token"
    _block_type_slug = "lockstep-token"
    _description = "Kept by Lockstep for the block that it is named after. There is nothing to edit here."

    grant: str = Field(description="Whose tokens these are: a block as type/name.")
    store: str = Field(description="The id of the store that guards them. Processes with another one leave them alone.")
    generation: int = Field(description="Rises with each renewal.")
    state: str = Field(default="new", description="new, granted, lost, ended or revoked.")
    expires: str = Field(default="", description="When the access token ends.")
    held: SecretStr = Field(description="The tokens.")


class Shelf:
    """Where the document of one grant lies. `store`: the id of this process's store.

    Any call raises Unavailable, with nothing sent to a vendor, if Prefect's server does not answer.
    """

    def __init__(self, client: PrefectClient, grant: str, store: str) -> None:
        self.client, self.grant, self.store = client, grant, store
        self.id: UUID | None = None

    @property
    def name(self) -> str:
        """The document's: Prefect's names have small letters, digits and dashes."""
        return self.grant.replace("/", "--")

    async def load(self) -> Held | None:
        """What the document holds; None: there is none, or it is damaged.

        Raises:
            Misconfigured: another store guards it.
        """
        data = await at("load token", self._guarded(self._read))
        if data is None:
            return None
        if data.get("grant") != self.grant:
            message = f"the block {Token.get_block_type_slug()}/{self.name} belongs to {data.get('grant')}: rename one"
            raise Misconfigured(message, system=self.grant, call="token")
        if data.get("store") != self.store:
            message = (
                f"its token is guarded by the store {data.get('store')}, and this process has {self.store}: two stores "
                "would use up each other's tokens. Give all workers the same block lockstep-store/main; if the other "
                f"store is gone for good, delete the block {Token.get_block_type_slug()}/{self.name}"
            )
            raise Misconfigured(message, system=self.grant, call="token")
        held = from_json(str(data.get("held")))
        if held is None:
            log.warning("%s: the token's document is damaged; the store's copy counts", self.grant)
        return held

    async def publish(self, held: Held) -> None:
        """Write the document, and read it back. Misconfigured: another store wrote at the same time."""
        await at("publish token", self._guarded(lambda: self._write(held)))
        if await self.load() != held:
            message = "the token's document is not as it was written: somebody else writes it"
            raise Misconfigured(message, system=self.grant, call="token")

    async def remove(self) -> bool:
        """Delete the document; whether there was one. Misconfigured: another store guards it, or another grant's."""
        await self.load()
        if self.id is None:
            return False
        await at("remove token", self._guarded(self._delete))
        return True

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(PATIENCE):
                return await work()
        except (*_AWAY, TimeoutError) as error:
            kind = type(error).__name__
        message = f"Prefect's server does not answer ({kind}), so that the token cannot be looked at"
        raise Unavailable(message, sent=False, system=self.grant, call="token")

    async def _read(self) -> Mapping[str, Any] | None:
        try:
            document = await self.client.read_block_document_by_name(
                self.name, Token.get_block_type_slug(), include_secrets=True
            )
        except ObjectNotFound:
            return None
        self.id = document.id
        return document.data

    async def _write(self, held: Held) -> None:
        token = Token(
            grant=self.grant,
            store=self.store,
            generation=held.generation,
            state=held.state,
            expires=f"{datetime.fromtimestamp(held.pair.expires, UTC):%Y-%m-%d %H:%M:%S} UTC" if held.pair else "",
            held=SecretStr(held.to_json().decode()),
        )
        if self.id is None:
            self.id = await token.asave(self.name, overwrite=True, client=self.client)
            return
        data = {**token.model_dump(include=set(Token.model_fields)), "held": token.held.get_secret_value()}
        update = BlockDocumentUpdate(data=data, merge_existing_data=False)
        await self.client.update_block_document(self.id, update)

    async def _delete(self) -> None:
        if self.id is not None:
            with contextlib.suppress(ObjectNotFound):
                await self.client.delete_block_document(self.id)


@asynccontextmanager
async def shelf(grant: str, store: str) -> AsyncIterator[Shelf]:
    """The shelf of one grant, while a client is open. Misconfigured: this process knows no Prefect server."""
    try:
        # Settings of its own, so that it is no client of a flow run, which ends when that does.
        client = get_client(httpx_settings={"timeout": PATIENCE})
    except ValueError:
        raise Misconfigured("PREFECT_API_URL is not set: there is no place for tokens", system=grant) from None
    async with client:
        yield Shelf(client, grant, store)
