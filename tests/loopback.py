"""A server on loopback that a test plays: it sees each request, and writes what it likes to the socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from blocks.errors import LockstepError
from blocks.http import Http

MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Loopback:
    port: int
    scheme: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/api/"


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None] | bytes]


def reply(status: int = 200, body: bytes = b"{}", kind: str = "application/json", **headers: str) -> bytes:
    """An answer as bytes; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """Serve on a free port until the block ends. `answer` gives an answer's bytes, or writes them itself."""
    loopback = Loopback(0, "https" if tls else "http")
    running: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loopback.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await _read(reader)
                loopback.asked.append(asked)
                given = answer(asked, writer)
                if isinstance(given, bytes):
                    writer.write(given)
                else:
                    await given
                await writer.drain()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(talk(reader, writer))
        running.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    loopback.port = server.sockets[0].getsockname()[1]
    try:
        yield loopback
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


@contextlib.asynccontextmanager
async def talking(answer: Answer | bytes, **settings: Any) -> AsyncIterator[tuple[Http, Loopback]]:
    """A client and the server that it talks to."""
    given: Answer = answer if callable(answer) else lambda _asked, _writer: answer
    async with serving(given) as server, Http("tracker", server.url, **settings) as http:
        yield http, server


async def failure_of(answer: Answer | bytes, **settings: Any) -> LockstepError:
    """The error that this answer becomes."""
    async with talking(answer, **settings) as (http, _):
        with pytest.raises(LockstepError) as caught:
            await http.json("GET", "issue/42", id="42", params={"q": "a secret question"})
    return caught.value
