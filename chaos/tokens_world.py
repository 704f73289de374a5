"""What tokens are kept and given by, for chaos: a provider here, a store, and a real Prefect server behind a gate."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from cryptography.fernet import Fernet
from pydantic import SecretStr

from blocks.oauth import Endpoint, RefreshToken
from blocks.oauth.pairs import mark
from blocks.ratelimit import Clock
from blocks.store import Database, Store
from chaos.universe import ROOT
from tests.fakes.provider import CLIENT, SECRET, Provider
from tests.peers.server import free_port

NAME: Final = "chaosgrant/prod"


class ChaosGrant(RefreshToken):
    """A refresh token of the fake provider, which works once."""

    address: str

    def endpoint(self) -> Endpoint:
        """The fake's."""
        return Endpoint(f"{self.address}/token", revoke_url=f"{self.address}/revoke")


def grant_at(address: str, token: str) -> ChaosGrant:
    """The block, as if it had been loaded."""
    made = ChaosGrant(
        client_id=CLIENT, client_secret=SecretStr(SECRET), refresh_token=SecretStr(token), address=address
    )
    made._block_document_name = "prod"  # noqa: SLF001  as loading does
    return made


async def _soon(seconds: float) -> None:
    # On loopback a dead process's request arrives at once.
    await asyncio.sleep(min(seconds, 0.2))


QUICK: Final = Clock(sleep=_soon)


@dataclass(slots=True)
class Gate:
    """Passes connections on to the Prefect server, or does not: then it is away."""

    target: int
    port: int = 0
    away: bool = False
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def shut(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.away = True
        for writer in tuple(self._open):
            writer.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.away:
            writer.transport.abort()
            return
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            self._open |= {writer, back}
            try:
                await asyncio.gather(_pour(reader, back), _pour(there, writer))
            finally:
                self._open -= {writer, back}
                back.close()
        writer.close()


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            into.write(data)
            await into.drain()
    into.close()


@dataclass(slots=True)
class World:
    """Everything. `nameless`: presentations of a refresh token without a note that named it.

    `consented`: what stands for a person's consent at the vendor's, and is no refresh.
    """

    provider: Provider
    gate: Gate
    database: Database
    store: str
    api: str
    folder: Path
    grant: ChaosGrant
    nameless: list[str] = field(default_factory=list)
    consented: set[str] = field(default_factory=set)

    def watch(self, route: str, form: dict[str, str]) -> None:
        """The provider is about to look at a request."""
        token = form.get("refresh_token", "")
        if route != "token" or token in self.consented:
            return
        with sqlite3.connect(f"file:{self.database.url.database}?mode=ro", uri=True) as reader:
            noted = reader.execute("SELECT noted FROM oauth_grant WHERE name = ?", (NAME,)).fetchone()
        if noted is None or noted[0] != mark(token):
            self.nameless.append(f"the token {mark(token)!r} was presented, the note named {noted and noted[0]!r}")

    def begin(self) -> None:
        """A person types in a new refresh token."""
        self.grant = grant_at(self.provider.url, self.provider.grant())


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Start all of it."""
    os.environ["LOCKSTEP_KEYS"] = Fernet.generate_key().decode()
    await asyncio.to_thread(folder.mkdir)
    store = f"sqlite:///{folder}/lockstep.db"
    database = await Store(url=SecretStr(store)).open()
    async with _prefect(folder) as port, Provider().serving() as provider:
        gate = Gate(port)
        server = await asyncio.start_server(gate.talk, "127.0.0.1", 0)
        gate.port = server.sockets[0].getsockname()[1]
        api = f"http://127.0.0.1:{gate.port}/api"
        made = World(provider, gate, database, store, api, folder, grant_at(provider.url, provider.grant()))
        provider.watch = made.watch
        try:
            yield made
        finally:
            gate.shut()
            server.close()
            await database.close()


@asynccontextmanager
async def _prefect(folder: Path) -> AsyncIterator[int]:
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    argv = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, env=env, cwd=ROOT, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(120), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/api/health")).is_success:
                        break
                await asyncio.sleep(0.25)
        yield port
    finally:
        process.terminate()
        await process.wait()
