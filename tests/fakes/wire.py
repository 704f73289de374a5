"""What carries a fake vendor's answers: a transport without sockets, an ASGI application, a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx


class Cut(Exception):
    """The connection ends without an answer: `how` is refuse, drop, lose or hang."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Fake(Protocol):
    """A vendor that answers requests."""

    async def handle(self, method: str, path: str, query: str, headers: MutableMapping[str, str], body: bytes) -> Reply:
        """One request. Cut: there is no answer."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """As a server runs it."""


async def asgi(fake: Fake, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """A fake as a server runs it. A cut is an answer that never becomes whole, or never comes."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        reply = await fake.handle(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
    except Cut as cut:
        while cut.how == "hang" and (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        return
    raw = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    raw.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": reply.body})


class FakeTransport(httpx.AsyncBaseTransport):
    """Calls the fake in this process: thousands of requests a second, and cuts as httpx raises them."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request; a hang is a timeout at once."""
        url, headers = request.url, {name.lower(): value for name, value in request.headers.items()}
        try:
            body = await request.aread()
            reply = await self.fake.handle(request.method, url.path, url.query.decode(), headers, body)
        except Cut as cut:
            kinds: dict[str, type[httpx.RequestError]] = {"refuse": httpx.ConnectError, "hang": httpx.ReadTimeout}
            raise kinds.get(cut.how, httpx.ReadError)(cut.how, request=request) from None
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body, request=request)


def serve(fake: Fake, port: int = 0, base: str = "/") -> None:
    """Serve this one until stopped; prints its address, which ends in `base`."""
    import socket

    import uvicorn

    # With no protocol named, asyncio leaves Nagle on: an answer in two writes would wait 40 ms for the ACK.
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}{base}", flush=True)  # noqa: T201  the caller reads it
    silent: dict[str, Any] = {"access_log": False, "date_header": False, "server_header": False}
    config = uvicorn.Config(fake.__call__, interface="asgi3", log_level="warning", lifespan="off", **silent)
    uvicorn.Server(config).run([sock])


@contextmanager
def apart(module: str, *words: str) -> Iterator[str]:
    """A fake in a process of its own, on a free port; gives the address that it prints."""
    command = [sys.executable, "-m", module, "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
