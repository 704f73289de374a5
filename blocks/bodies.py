"""An answer's body, decompressed and counted while it comes, so that none can fill our memory."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import httpx

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP: Final = 64 * 1024


class BrokenBodyError(Exception):
    """The body is too large, or cannot be decompressed."""


class Body(httpx.AsyncByteStream):
    """Wraps an answer's stream. Reading it raises BrokenBodyError beyond `limit` bytes, counted decompressed."""

    def __init__(self, inner: httpx.AsyncByteStream, limit: int, encoding: str) -> None:
        self._inner, self._limit, self._encoding = inner, limit, encoding

    @classmethod
    def wrap(cls, response: httpx.Response, limit: int) -> None:
        """Put one around this answer's stream, which from then on reads as if it had not been compressed."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            del response.headers["content-encoding"]
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = cls(response.stream, limit, encoding)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        inflate = self._inflater()
        async for raw in self._inner:
            for chunk in inflate.feed(raw) if inflate else (raw,):
                size += len(chunk)
                if size > self._limit:
                    raise BrokenBodyError(f"the answer is larger than {self._limit} bytes")
                yield chunk
        if inflate and not inflate.whole:
            raise BrokenBodyError("the answer's compressed body is cut short")

    async def aclose(self) -> None:
        """Close the stream within."""
        await self._inner.aclose()

    def _inflater(self) -> _Inflater | None:
        if self._encoding == "identity":
            return None
        if self._encoding in {"gzip", "x-gzip"}:
            return _Inflater()
        raise BrokenBodyError("the answer is compressed in a way that we did not ask for")


async def beginning(response: httpx.Response, length: int) -> bytes:
    """At most so many bytes of an answer's body, which is then closed; less where it breaks off."""
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= length:
                break
    except (httpx.HTTPError, BrokenBodyError):
        pass  # what came is enough
    finally:
        await response.aclose()
    return bytes(body[:length])


class _Inflater:
    """Gzip (RFC 1952: one or more members) in pieces of bounded size."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self.whole = True

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._member.eof:
                raw = raw.lstrip(b"\0")  # padding is allowed after a member
                if not raw:
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                chunk = self._member.decompress(raw, _STEP)
            except zlib.error:
                chunk = None
            if chunk is None:
                raise BrokenBodyError("the answer's compressed body is damaged")
            if chunk:
                yield chunk
            raw = self._member.unconsumed_tail or self._member.unused_data
            self.whole = self._member.eof
