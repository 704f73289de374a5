"""A process with callers that share one grant: `python -m bench.callers`, its settings as a JSON line on its input."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import SecretStr

from blocks.errors import LockstepError
from blocks.http import Http
from blocks.oauth import Endpoint, RefreshToken
from blocks.oauth.auth import TokenAuth
from blocks.store import Database, Store

T = TypeVar("T")
PAUSE = 0.1
"""Seconds between two requests of a caller: they ask, as connectors do, and do not load the machine."""


class BenchGrant(RefreshToken):
    """A refresh token of the fake provider, which works once."""

    address: str

    def endpoint(self) -> Endpoint:
        """The fake's."""
        return Endpoint(f"{self.address}/token")


@dataclass(slots=True)
class Caller:
    """What one of them did. `longest`: seconds that it waited for a token, at most."""

    made: int = 0
    longest: float = 0.0
    failures: list[str] = field(default_factory=list)


def grant(address: str, client: str, secret: str, token: str) -> BenchGrant:
    """The block, as if it had been loaded."""
    made = BenchGrant(
        client_id=client, client_secret=SecretStr(secret), refresh_token=SecretStr(token), address=address
    )
    made._block_document_name = "bench"  # noqa: SLF001  as loading does
    return made


async def call(http: Http, auth: TokenAuth, end: float) -> Caller:
    """One caller, until the time is over."""
    mine = Caller()
    source, token, other = auth.source, auth.source.token, auth.source.instead_of

    def timed(work: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def wait(*args: Any) -> T:  # noqa: ANN401  whatever it takes
            begin = time.perf_counter()
            try:
                return await work(*args)
            finally:
                mine.longest = max(mine.longest, time.perf_counter() - begin)

        return wait

    private = TokenAuth.__new__(TokenAuth)
    private.source = _Timed(source, timed(token), timed(other))  # type: ignore[assignment]  # looks like one
    while time.monotonic() < end:
        try:
            response = await http.send(http.build_request("GET", "/api"), auth=private)
            mine.made += response.is_success
        except LockstepError as error:
            mine.failures.append(str(error))
        await asyncio.sleep(PAUSE)
    return mine


@dataclass(slots=True)
class _Timed:
    source: Any
    token: Callable[..., Awaitable[Any]]
    instead_of: Callable[..., Awaitable[Any]]

    def refused_twice(self) -> None:
        """As the source's."""
        self.source.refused_twice()


async def main() -> None:
    """Say that the imports are done; call, as told; tell what was done."""
    print("ready", flush=True)
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    database = await Store(url=SecretStr(told["store"])).open()

    async def opened() -> Database:
        return database

    auth = TokenAuth(grant(*told["grant"]))
    auth.source.open_store = opened
    async with Http("bench", told["grant"][0], concurrency=told["callers"]) as http:
        end = time.monotonic() + told["seconds"]
        done = await asyncio.gather(*(call(http, auth, end) for _ in range(told["callers"])))
    await database.close()
    print(json.dumps({
        "made": sum(one.made for one in done),
        "longest": [one.longest for one in done],
        "failures": [words for one in done for words in one.failures],
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
