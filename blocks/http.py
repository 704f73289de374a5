"""An httpx client that raises our errors, keeps to a vendor's rate limits, and never shows a secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import httpx
import orjson
from httpx import USE_CLIENT_DEFAULT
from httpx._client import UseClientDefault
from httpx._types import AuthTypes

from blocks.answers import About, Where, of_failure, of_status
from blocks.bodies import Body, BrokenBodyError, beginning
from blocks.errors import LockstepError, Misconfigured, Unavailable, Unreadable
from blocks.lanes import lanes_to
from blocks.ratelimit import Clock, Gate, RateLimit
from blocks.redaction import credentials, fit, redacted
from blocks.tls import trust

__all__ = ["Clock", "Http", "RateLimit"]

_MIB: Final = 1024 * 1024
_ERROR_BODY: Final = 64 * 1024
_TRIES: Final = 3
_LIMIT: Final = "lockstep.max_bytes"


class Http(httpx.AsyncClient):
    """A client for one system. Any call raises errors of `blocks.errors`, with system, call and id, never a secret.

    Redirects are never followed, whatever `follow_redirects` says. A 429 is tried again, at most twice, if its wait is
    short; nothing else is. An `httpx.Auth` sees a 401 before it becomes Unauthorized; it must not call this client,
    whose slot it holds.

    Args:
        system: the system's name, for errors.
        base_url: where paths start. Misconfigured if it is no address.
        auth, headers, transport: as in httpx.
        ca_file: PEM file of a private authority, trusted beside the usual roots. Misconfigured if it cannot be read.
        timeout: seconds for connecting, and for each wait for more of an answer.
        total: seconds for a whole exchange; files have no such limit.
        concurrency: requests at a time; also the connections kept.
        max_bytes: of an answer, decompressed; Unreadable beyond it.
        limits: the vendor's rate-limit headers.
        max_wait: the longest wait, in seconds, that is waited here; a longer one raises Unavailable at once.
        clock: time, injectable.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        *,
        auth: AuthTypes | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
        timeout: float = 30.0,
        total: float = 300.0,
        concurrency: int = 16,
        max_bytes: int = 32 * _MIB,
        limits: RateLimit | Sequence[RateLimit] = (),
        max_wait: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        _quieten()
        self.system = redacted(system, ())
        self._total, self._max_bytes, self._max_wait = total, max_bytes, max_wait
        self._clock = clock or Clock()
        self._gate = Gate((limits,) if isinstance(limits, RateLimit) else limits, self._clock)
        self._slots = asyncio.Semaphore(concurrency)
        wrong = False
        try:
            super().__init__(
                base_url=base_url,
                auth=auth,
                headers={"Accept": "application/json", **(headers or {}), "Accept-Encoding": "gzip"},
                timeout=timeout,
                transport=transport or lanes_to(base_url, trust(ca_file, self.system)),
                event_hooks={"response": [self._received]},
            )
        except (httpx.InvalidURL, ValueError, ImportError):  # SOCKS needs a package
            wrong = True
        if wrong:  # raised out here, as what was caught holds the address or the header
            message = "the address, the proxy's, or a header made of the settings is malformed: look for odd characters"
            raise Misconfigured(message, system=self.system)

    def __repr__(self) -> str:
        return f"<Http {self.system} {self.base_url.host}>"

    @property
    def skew(self) -> timedelta:
        """How far the system's clock is ahead of ours, to a second, by the last answer that had a `Date`."""
        return timedelta(seconds=round(self._gate.skew))

    async def json(self, method: str, path: str, *, id: str = "", **kwargs: Any) -> Any:  # noqa: ANN401 - any JSON
        """The answer's JSON, or None where a write is answered with nothing. Unreadable if it is no JSON.

        Args:
            method: of the request.
            path: below the base URL.
            id: the remote id that it is about, for errors.
            kwargs: as in `httpx.AsyncClient.build_request`.
        """
        return self.data(await self.call(method, path, id=id, **kwargs), id)

    def data(self, response: httpx.Response, id: str = "") -> Any:  # noqa: ANN401 - any JSON
        """The JSON of an answer of `call`, as `json` gives it."""
        content = response.content.removeprefix(b"\xef\xbb\xbf")
        if not content and (response.request.method != "GET" or response.status_code == httpx.codes.NO_CONTENT):
            return None
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass  # what was caught holds the content
        kind = response.headers.get("content-type", "no content type").partition(";")[0]
        kind = fit(kind, credentials(response.request), 80)
        message = f"answered {response.status_code} with {len(content)} bytes of {kind} that are no JSON in UTF-8"
        raise Unreadable(message, **self._where(response.request, id))

    async def call(self, method: str, path: str, *, id: str = "", **kwargs: Any) -> httpx.Response:  # noqa: ANN401
        """The whole answer, read. Arguments as in `json`."""
        request = self._build(method, path, id, kwargs)
        async with self._slots:
            return await self._exchange(request, id)

    async def stream_bytes(
        self,
        method: str,
        path: str,
        *,
        id: str = "",
        max_bytes: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - httpx's
    ) -> AsyncGenerator[bytes, None]:
        """A file's bytes, decompressed. Unreadable beyond `max_bytes`. Close it if it is not read to its end."""
        request = self._build(method, path, id, kwargs)
        request.extensions[_LIMIT] = max_bytes or self._max_bytes
        failure: LockstepError | None = None
        async with self._slots:
            response = await self._exchange(request, id, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    yield chunk
            except (httpx.HTTPError, BrokenBodyError) as error:
                failure = self._failed(error, request, id)
            finally:
                await response.aclose()
        if failure:
            raise failure

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: AuthTypes | UseClientDefault | None = USE_CLIENT_DEFAULT,
        follow_redirects: bool | UseClientDefault = USE_CLIENT_DEFAULT,  # noqa: ARG002 - none is followed
    ) -> httpx.Response:
        """As in httpx, with our errors. A streamed answer gives its slot back with its headers."""
        async with self._slots:
            return await self._exchange(request, "", auth=auth, stream=stream)

    def _build(self, method: str, path: str, id: str, kwargs: dict[str, Any]) -> httpx.Request:
        try:
            return self.build_request(method, path, **kwargs)
        except (httpx.InvalidURL, UnicodeEncodeError):
            pass  # what was caught holds the address or the header
        raise Misconfigured("this call's address or headers are malformed", system=self.system, call=method, id=id)

    async def _exchange(
        self,
        request: httpx.Request,
        id: str,
        *,
        auth: AuthTypes | UseClientDefault | None = USE_CLIENT_DEFAULT,
        stream: bool = False,
    ) -> httpx.Response:
        """Send, and send again after a short 429."""
        for tries_left in reversed(range(_TRIES)):
            wait = await self._gate.enter(self._max_wait)
            if wait:
                message = f"the system asked us to wait {wait:.0f} s more"
                raise Unavailable(message, retry_after=wait, sent=False, **self._where(request, id))
            try:
                outcome = await self._once(request, id, auth, stream=stream)
            finally:
                self._gate.leave()
            if isinstance(outcome, httpx.Response):
                return outcome
            if not tries_left or not self._again(outcome):
                raise outcome
        raise AssertionError  # the last try returned or raised

    async def _once(
        self,
        request: httpx.Request,
        id: str,
        auth: AuthTypes | UseClientDefault | None,
        *,
        stream: bool,
    ) -> httpx.Response | LockstepError:
        """One exchange. Errors are returned, so that none carries the caught one, which may hold a secret."""
        try:
            async with asyncio.timeout(self._total):
                response = await super().send(request, stream=True, auth=auth, follow_redirects=False)
                if response.status_code >= httpx.codes.MULTIPLE_CHOICES:
                    return await self._unwanted(response, id)
                if not stream:
                    await self._read(response)
                return response
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, BrokenBodyError) as error:
            return self._failed(error, request, id)
        except httpx.StreamConsumed:
            return Unavailable("this body cannot be sent a second time", sent=False, **self._where(request, id))

    async def _read(self, response: httpx.Response) -> None:
        try:
            await response.aread()
        finally:
            await response.aclose()

    async def _unwanted(self, response: httpx.Response, id: str) -> httpx.Response | LockstepError:
        """The error that this status stands for, with the beginning of its body."""
        if response.status_code == httpx.codes.NOT_MODIFIED:
            await self._read(response)
            return response
        body = await beginning(response, _ERROR_BODY)
        where = Where.of(self.system, response.request, id)
        return of_status(response, body, where, self._gate.wait() or None)

    def _again(self, error: LockstepError) -> bool:
        if error.status != httpx.codes.TOO_MANY_REQUESTS or not isinstance(error, Unavailable):
            return False
        return error.retry_after is not None and error.retry_after <= self._max_wait

    def _failed(self, failure: Exception, request: httpx.Request, id: str) -> LockstepError:
        if isinstance(failure, BrokenBodyError):
            return Unreadable(str(failure), **self._where(request, id))
        return of_failure(failure, Where.of(self.system, request, id))

    def _where(self, request: httpx.Request, id: str) -> About:
        return Where.of(self.system, request, id).kwargs()

    async def _received(self, response: httpx.Response) -> None:
        """The hook sees each answer, those within an auth flow too, and must not raise there."""
        self._gate.received(response.status_code, response.headers)
        Body.wrap(response, response.request.extensions.get(_LIMIT, self._max_bytes))


def _quieten() -> None:
    """At INFO, httpx logs each URL with its query; at DEBUG, httpcore logs each header."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
