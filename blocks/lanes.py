"""Connections that are found at once. httpcore's pool looks at all of its own for each request: 0.4 ms at 16."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Final, Self
from urllib.request import getproxies, proxy_bypass

import httpx

_KEPT_SECONDS: Final = 4.0
"""Below the 5 s after which many servers close an idle connection, so that we rarely write into a closing one."""


class Lanes(httpx.AsyncBaseTransport):
    """A transport of one connection for each request on its way; the one used last goes first, while it is warm.

    Takes as many at a time as it is asked for: its client limits them.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._make = make
        self._free = [make()]
        self._busy: set[httpx.AsyncBaseTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send on a free lane. One that failed is closed and not used again."""
        lane = self._free.pop() if self._free else self._make()
        self._busy.add(lane)
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._busy.discard(lane)
            await lane.aclose()
            raise
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Stream(response.stream, lambda: self._give_back(lane))
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        lanes = [*self._free, *self._busy]
        self._free.clear()
        self._busy.clear()
        for lane in lanes:
            await lane.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    def _give_back(self, lane: httpx.AsyncBaseTransport) -> None:
        if lane in self._busy:
            self._busy.discard(lane)
            self._free.append(lane)


class _Stream(httpx.AsyncByteStream):
    """An answer's stream that gives its lane back when it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, done: Callable[[], None]) -> None:
        self._inner, self._done = inner, done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._done()


def lanes_to(base_url: str, trusted: ssl.SSLContext) -> Lanes:
    """To this address, through the environment's proxy if it names one. ValueError or ImportError: an odd proxy."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_SECONDS)
    proxy = proxy_for(httpx.URL(base_url))
    return Lanes(partial(httpx.AsyncHTTPTransport, verify=trusted, limits=limits, proxy=proxy))


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) names for this address."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.netloc.decode("ascii")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
