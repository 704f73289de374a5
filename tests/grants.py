"""Grants for tests: toy vendors, a clock, the token's document in memory, and processes made of one loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

import blocks.oauth.custody
from blocks.http import Http
from blocks.oauth import (
    AuthorizationCode,
    ClientSecret,
    DeviceCode,
    Endpoint,
    Grant,
    RefreshToken,
)
from blocks.oauth.auth import Source, TokenAuth
from blocks.oauth.document import Shelf
from blocks.oauth.journal import read
from blocks.oauth.pairs import Held
from blocks.oauth.refresh import renew
from blocks.ratelimit import Clock
from blocks.store import Database
from tests.fakes.provider import CLIENT, SECRET, Provider
from tests.mirrors import copy_of


class ToyCredentials(ClientSecret):
    """Client credentials with a secret."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", scope="api:read", parameters={"audience": "urn:api"})


class ToyRefresh(RefreshToken):
    """A refresh token, typed in."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", revoke_url=f"{self.address}/revoke")


class ToyDevice(DeviceCode):
    """A device code."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(
            f"{self.address}/token", device_url=f"{self.address}/device", revoke_url=f"{self.address}/revoke"
        )


class ToyBrowser(AuthorizationCode):
    """An authorization code."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", authorize_url=f"{self.address}/authorize", issuer=self.address)


def named(grant: Any, name: str = "prod") -> Any:
    """The block, as if it had been loaded."""
    grant._block_document_name = name
    return grant


def credentials(provider: Provider, **more: Any) -> ToyCredentials:
    """Client credentials at this provider."""
    made = ToyCredentials(client_id=CLIENT, client_secret=SecretStr(SECRET), address=provider.url, **more)
    return named(made)  # type: ignore[no-any-return]  # the same block


def refreshing(provider: Provider, token: str) -> ToyRefresh:
    """A refresh token of this provider, typed in."""
    made = ToyRefresh(
        client_id=CLIENT, client_secret=SecretStr(SECRET), refresh_token=SecretStr(token), address=provider.url
    )
    return named(made)  # type: ignore[no-any-return]  # the same block


async def eventually(what: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.002)


@dataclass(slots=True)
class Time:
    """A clock that tests turn: `now` alone, as people and NTP do, or both. `slept` is what was waited for."""

    wall: float = field(default_factory=time.time)
    run: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def go(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.run += seconds

    async def sleep(self, seconds: float) -> None:
        """Pass at once."""
        self.slept.append(seconds)
        self.go(seconds)
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        """As it is injected."""
        return Clock(lambda: self.wall, lambda: self.run, self.sleep)


@dataclass(slots=True)
class Prefect:
    """The documents that a Prefect server has. `away`: it does not answer. `writes` counts.

    `written` is awaited before a token is written, but not before the claim of a new grant.
    """

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    away: bool = False
    writes: int = 0
    written: Callable[[], Awaitable[Any]] | None = None

    def held(self, name: str) -> Held | None:
        """What the document of this grant holds."""
        from blocks.oauth.pairs import from_json

        data = self.documents.get(name.replace("/", "--"))
        return from_json(data["held"]) if data else None


class MemoryShelf(Shelf):
    """A shelf in a server that is a dictionary."""

    def __init__(self, prefect: Prefect, grant: str, store: str) -> None:
        super().__init__(None, grant, store)  # type: ignore[arg-type]  # there is no client
        self.prefect = prefect

    async def _read(self) -> Mapping[str, Any] | None:
        await self._reach()
        found = self.prefect.documents.get(self.name)
        self.id = uuid4() if found else None
        return found

    async def _write(self, held: Held) -> None:
        await self._reach()
        if self.prefect.written and held.pair:
            await self.prefect.written()
        self.id = self.id or uuid4()
        self.prefect.documents[self.name] = {
            "grant": self.grant, "store": self.store, "generation": held.generation, "held": held.to_json().decode(),
        }  # fmt: skip
        self.prefect.writes += 1

    async def _delete(self) -> None:
        await self._reach()
        self.prefect.documents.pop(self.name, None)

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.prefect.away:
            raise httpx.ConnectError("away")


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    """A Prefect server's documents, for the whole test; and keys for the store."""
    server = Prefect()

    @asynccontextmanager
    async def shelf(grant: str, store: str) -> AsyncIterator[Shelf]:
        yield MemoryShelf(server, grant, store)

    monkeypatch.setattr(blocks.oauth.custody, "shelf", shelf)
    monkeypatch.setenv("LOCKSTEP_KEYS", Fernet.generate_key().decode())
    return server


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider on loopback."""
    async with Provider().serving() as served:
        yield served


@pytest.fixture
def store_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Most of it is the same on both databases; test_oauth_stores.py looks at both."""
    return copy_of(sqlite_template, tmp_path, "lockstep")


@pytest.fixture
def when() -> Time:
    """A clock to turn."""
    return Time()


@dataclass(slots=True)
class Desk:
    """One grant, its store, its provider; and what a test asks of them."""

    database: Database
    provider: Provider
    prefect: Prefect
    time: Time
    grant: Grant

    async def renew(self, failed: str = "") -> Held:
        """As a process does that knows nothing."""
        return await renew(self.database, self.grant, failed, clock=self.time.clock)

    def source(self) -> Source:
        """A new process's."""
        source = Source(self.grant, self.time.clock)

        async def store() -> Database:
            return self.database

        source.open_store = store
        return source

    @asynccontextmanager
    async def http(self, source: Source | None = None) -> AsyncIterator[Http]:
        """A client of a new process, to the provider's API."""
        auth = TokenAuth.__new__(TokenAuth)
        auth.source = source or self.source()
        async with Http("toy", self.provider.url, auth=auth) as http:
            yield http

    async def row(self) -> Any:
        """The journal's entry."""
        return await read(self.database, self.grant.grant_name)

    async def agree(self) -> Held:
        """What both places hold, which is the same."""
        entry, document = await self.row(), self.prefect.held(self.grant.grant_name)
        assert entry is not None
        assert entry.held == document
        held: Held = entry.held
        return held


@pytest.fixture
def desk(database: Database, provider: Provider, prefect: Prefect, when: Time) -> Desk:
    """Client credentials; a test puts another grant in."""
    return Desk(database, provider, prefect, when, credentials(provider))


@pytest.fixture
def rotating(desk: Desk) -> Desk:
    """A refresh token that works once."""
    desk.grant = refreshing(desk.provider, desk.provider.grant())
    return desk
