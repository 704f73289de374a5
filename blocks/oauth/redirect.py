"""A server for one answer: the vendor sends the person's browser to it, with a code (RFC 8252 §7.3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import compare_digest
from typing import Final
from urllib.parse import parse_qs, urlsplit

from blocks.errors import LockstepError, Misconfigured, Unauthorized
from blocks.redaction import fit

Answered = Callable[[], Awaitable[str]]
"""Waits for the code."""

_PATH: Final = "/callback"
_PATIENCE: Final = 10.0
"""Seconds that a browser may take for its request."""
_LONGEST: Final = 16 * 1024

_PAGES: Final = {
    200: "Done. You can close this page; the run goes on by itself.",
    400: "This is not the answer that Lockstep waits for. Open the link of the run again.",
    404: "There is nothing here.",
}


@asynccontextmanager
async def listening(system: str, port: int, state: str, issuer: str) -> AsyncIterator[tuple[str, Answered]]:
    """Listen on this machine alone; the address to be sent back to, and what waits for the code.

    Only an answer that carries `state` counts, and `issuer`, where the vendor is known to send it (RFC 9207).

    Raises:
        Misconfigured: the port is taken.
    """
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_page(_heard(head, state, issuer, system, code)))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(talk, "127.0.0.1", port, limit=_LONGEST)
    except OSError:
        message = f"port {port} of this machine is taken: close what listens there, or register another one"
        raise Misconfigured(message, system=system, call="authorise") from None
    try:
        # Not "localhost", which some resolve elsewhere (RFC 8252 §8.3).
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{_PATH}", lambda: asyncio.shield(code)
    finally:
        server.close()
        if code.done() and not code.cancelled():
            code.exception()  # seen, whether anybody waited or not
        code.cancel()


def _heard(head: bytes, state: str, issuer: str, system: str, code: asyncio.Future[str]) -> int:
    """Take the first answer that is meant for us; what the browser is told, as a status."""
    method, _, rest = head.decode("latin-1").partition(" ")
    target = urlsplit(rest.partition(" ")[0])
    if method != "GET" or target.path != _PATH:
        return 404
    given = {name: values[0] for name, values in parse_qs(target.query).items()}
    if code.done() or not compare_digest(given.get("state", "").encode(), state.encode()):
        return 400
    if issuer and given.get("iss", "") != issuer:
        return 400
    if given.get("code"):
        code.set_result(given["code"])
        return 200
    code.set_exception(_refused(given, system))
    return 200


def _refused(given: dict[str, str], system: str) -> LockstepError:
    words = fit(": ".join(filter(None, (given.get("error"), given.get("error_description")))), (), 300)
    return Unauthorized(f"the person, or the vendor, refused: {words}", system=system, call="authorise")


def _page(status: int) -> bytes:
    body = f"<!doctype html><meta charset=utf-8><title>Lockstep</title><p>{_PAGES[status]}".encode()
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\r\n"
    )
    return head.encode() + body
